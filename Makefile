# Everything runs in .venv, made with the tested versions of constraints.txt.
PYTHON ?= python3
BIN = .venv/bin
READY = .venv/.ready
PEERS = .venv-peers/.ready

.PHONY: setup probe figure2 test lint types bench weights competition clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --constraint constraints.txt pip
	$(BIN)/pip install -qq --constraint constraints.txt --group dev --editable .
	touch $@

probe: $(READY) ## show the shipped network the gratings
	$(BIN)/ephys probe --overwrite

figure2: $(READY) ## the README's figure, with VGG-16 from $EPHYS_DATA as panel B
	$(BIN)/ephys probe --overwrite
	$(BIN)/ephys probe vgg16 --weights $(EPHYS_DATA)/vgg16_imagenet/vgg16_conv_head.safetensors \
	  --input-format caffe --size 48 --degrees 3.2 --protocol contrast_invariance --overwrite
	$(BIN)/ephys plot runs/superres-divnormei runs/vgg16 --name 'VGG-16 conv1_2' \
	  -o notebooks/figure2.png

test: $(READY)
	$(BIN)/python -m pytest -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY) $(PEERS) ## what drawing, fitting, recording and normalizing cost beside other tools; hours
	$(BIN)/python benchmarks/stimuli.py --peers .venv-peers/bin/python
	$(BIN)/python benchmarks/fits.py
	$(BIN)/python benchmarks/analysis.py
	$(BIN)/python benchmarks/recording.py
	$(BIN)/python benchmarks/channel_norm.py

$(PEERS): benchmarks/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -qq --requirement benchmarks/peers.txt
	touch $@

weights: $(READY) ## train the shipped networks anew from $EPHYS_DATA, three seeds each
	$(BIN)/python benchmarks/shipped_networks.py --data $(EPHYS_DATA)/bsds500

competition: $(READY) ## train the shipped classifiers anew from $EPHYS_DATA, five seeds each
	$(BIN)/python benchmarks/competition.py
	$(BIN)/python benchmarks/competition_figure.py

clean:
	rm -rf .venv .venv-peers build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
