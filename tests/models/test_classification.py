"""Training classifiers: reproducible bit for bit, stopped and resumed, shared out, refused."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ephys.models import classification
from ephys.models.checkpoint import load_checkpoint, read_header, read_weights
from ephys.models.classification import (
    ClassifierTraining,
    evaluate,
    learning_rate,
    train_classifier,
)
from ephys.models.labeled_images import read_labeled_images
from ephys.models.twolayer import TwoLayerCNN, TwoLayerSettings

NETWORK = TwoLayerSettings(filters=8, filters_2=8, groups_of=4, kernel_px=3)
SHORT = ClassifierTraining(epochs=3, batch_size=8, seed=3)
PER_CLASS = 20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that lie, and bars that stand, in noise: 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(5)
    for part, count in [("train", PER_CLASS), ("test", 6)]:
        for name, axis in [("lying", 0), ("standing", 1)]:
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                wave = 60 * np.sin(np.arange(16) * 2 * np.pi / 5 + 6 * rng.random())
                bars = np.expand_dims(wave, 1 - axis)
                pixels = 127 + bars[..., None] + rng.normal(0, 20, (16, 16, 3))
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                image.save(folder / part / name / f"{index}.png")
    return folder


def train(
    data: Path, out: Path, chosen: ClassifierTraining = SHORT, **options: Any
) -> dict[str, Any]:
    options.setdefault("network", NETWORK)
    return train_classifier(data, out, training=chosen, quiet=True, **options)


def assert_same_network(first: Path, second: Path) -> None:
    weights, others = read_weights(first), read_weights(second)
    assert list(weights) == list(others)
    for name, values in weights.items():
        assert torch.equal(values, others[name]), name


def test_the_same_seed_gives_bit_for_bit_the_same_network(data: Path, tmp_path: Path) -> None:
    for name in ("first", "again"):
        torch.rand(5)  # whatever the caller drew before
        train(data, tmp_path / name)
    assert_same_network(tmp_path / "first", tmp_path / "again")
    assert read_header(tmp_path / "first") == read_header(tmp_path / "again")


def test_another_seed_gives_another_network(data: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        train(data, tmp_path / str(seed), ClassifierTraining(epochs=1, batch_size=8, seed=seed))
    first, second = read_weights(tmp_path / "1"), read_weights(tmp_path / "2")
    assert not torch.equal(first["conv1.weight"], second["conv1.weight"])


@pytest.mark.parametrize("normalization", ["competition", "group", "batch"])
def test_every_network_learns_what_can_be_learned(
    data: Path, tmp_path: Path, normalization: Any
) -> None:
    network = TwoLayerSettings(
        normalization, rectified=normalization != "competition", filters=8, filters_2=8, groups_of=4
    )
    chosen = ClassifierTraining(epochs=12, batch_size=8)
    notes = train(data, tmp_path / "out", chosen, network=network)
    assert notes["evaluation"]["test_accuracy"] == 1
    assert notes["history"][0]["train_loss"] > 3 * notes["history"][-1]["train_loss"]


def test_the_checkpoint_and_the_curves_say_what_happened(data: Path, tmp_path: Path) -> None:
    notes = train(data, tmp_path / "net.safetensors", keep_epochs=True)
    header = read_header(tmp_path / "net.safetensors")
    assert {name: header[name] for name in notes} == json.loads(json.dumps(notes))
    assert header["training"]["classes"] == ["lying", "standing"]
    assert header["training"]["images"] == 2 * PER_CLASS
    curves = pd.read_csv(tmp_path / "net.csv")
    assert list(curves["epoch"]) == [1, 2, 3]
    assert curves["test_accuracy"].iloc[-1] == notes["evaluation"]["test_accuracy"]
    assert not (tmp_path / "net.safetensors.training").exists()

    model = load_checkpoint(tmp_path / "net.safetensors")
    assert isinstance(model, TwoLayerCNN)
    _, test = read_labeled_images(data)
    assert evaluate(model, test)["test_accuracy"] == notes["evaluation"]["test_accuracy"]
    epochs = sorted(path.name for path in (tmp_path / "net.epochs").iterdir())
    assert epochs == [f"{epoch:03d}.safetensors" for epoch in range(4)]
    last = tmp_path / "net.epochs" / "003.safetensors"
    assert_same_network(last, tmp_path / "net.safetensors")


def test_mean_and_spread_are_those_of_the_training_images(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "out")
    shown, _ = read_labeled_images(data)
    settings = read_header(tmp_path / "out")["settings"]
    values = shown.images.astype(float) / 255
    np.testing.assert_allclose(settings["mean"], values.mean((0, 2, 3)), atol=5e-5)
    np.testing.assert_allclose(settings["std"], values.std((0, 2, 3)), atol=5e-5)
    assert settings["size_px"] == 16
    assert settings["classes"] == 2


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_resumed_training_gives_bit_for_bit_the_same_network(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_after: int
) -> None:
    train(data, tmp_path / "whole")
    real = classification._epoch

    def stopped(*arguments: Any) -> dict[str, float]:
        if arguments[4] == stopped_after:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(classification, "_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    train(data, tmp_path / "out", resume=True)
    assert_same_network(tmp_path / "whole", tmp_path / "out")
    assert read_header(tmp_path / "whole") == read_header(tmp_path / "out")


def test_killed_in_the_middle_it_goes_on(data: Path, tmp_path: Path) -> None:
    chosen = ClassifierTraining(epochs=40, batch_size=8, seed=3)
    train(data, tmp_path / "whole.safetensors", chosen)
    out = tmp_path / "out.safetensors"
    command = [sys.executable, "-m", "ephys", "train", "classify", "--data", str(data), "-q"]
    options = ["-o", str(out), "--epochs", "40", "--batch-size", "8", "--seed", "3"]
    process = subprocess.Popen(command + options, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not out.with_suffix(".csv").exists():
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(pd.read_csv(out.with_suffix(".csv")))
    assert done < 40
    assert not out.exists()
    resumed = subprocess.run(
        [*command, *options, "--resume"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "test images correct" in resumed.stdout
    default = train(
        data, tmp_path / "default.safetensors", chosen, network=TwoLayerSettings(), overwrite=True
    )
    assert default["training"]["seed"] == 3
    assert_same_network(tmp_path / "default.safetensors", out)


def test_two_processes_give_the_result_of_one(data: Path, tmp_path: Path) -> None:
    """But for rounding, which fifteen steps amplify a little."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    chosen = ClassifierTraining(epochs=3, batch_size=8)
    train(data, alone, chosen, network=TwoLayerSettings())
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["--epochs", "3", "--batch-size", "8", "--data", str(data), "-o", str(together)]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "ephys", "train", "classify", "-q", *options],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test images correct") == 1
    others = read_weights(together)
    for name, values in read_weights(alone).items():
        torch.testing.assert_close(others[name], values, rtol=1e-3, atol=1e-4)
    rows = [read_header(path)["history"] for path in (alone, together)]
    for row, other in zip(*rows, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-6)


def test_the_learning_rate_goes_up_and_down_once() -> None:
    rates = [learning_rate(SHORT, done) for done in np.linspace(0, 1, 11)]
    assert rates[0] == 0
    assert rates[2] == SHORT.learning_rate
    assert rates[6] == pytest.approx(SHORT.learning_rate / 2)
    assert rates[10] == pytest.approx(0, abs=1e-12)
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)


def test_a_loss_that_is_no_number_is_refused_and_the_last_epoch_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.functional.cross_entropy
    calls: list[None] = []

    def broken(*arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(None)
        loss = real(*arguments, **options)
        return loss * math.nan if len(calls) == 9 else loss  # epoch 2, after 5 steps and a test

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "cross_entropy", broken)
        with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 2, step 3; lower"):
            train(data, tmp_path / "out")
    train(data, tmp_path / "out", resume=True)
    train(data, tmp_path / "whole")
    assert_same_network(tmp_path / "whole", tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs=0 is below 1"),
        ({"batch_size": 1}, "batch_size=1 is below 2"),
        ({"learning_rate": math.inf}, "learning_rate=inf is not a positive number"),
        ({"momentum": 1.0}, "momentum=1.0 is not from 0 to below 1"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 is not a number from 0 on"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierTraining(**changed)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path
) -> None:
    large = ClassifierTraining(batch_size=64)
    with pytest.raises(ValueError, match=r"=64 is above the 40 .*; pass --batch-size 40 or less"):
        train(data, tmp_path / "out", large)
    with pytest.raises(ValueError, match="mixed precision needs a CUDA device, not cpu"):
        train(data, tmp_path / "out", ClassifierTraining(mixed_precision=True))
    assert list(tmp_path.iterdir()) == []


def test_only_the_training_that_was_stopped_is_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(data, tmp_path / "out", resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(classification, "_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "out")
    with pytest.raises(FileExistsError, match="holds a training that was stopped"):
        train(data, tmp_path / "out")
    other = ClassifierTraining(epochs=3, batch_size=8, seed=4)
    with pytest.raises(ValueError, match="was begun with seed=3, not 4"):
        train(data, tmp_path / "out", other, resume=True)


@pytest.mark.parametrize("ending", [".csv", ".png", ".epochs"])
def test_what_lies_beside_the_checkpoint_is_not_lost(
    data: Path, tmp_path: Path, ending: str
) -> None:
    (tmp_path / f"net{ending}").write_text("precious")
    with pytest.raises(FileExistsError, match=rf"net\{ending} exists; pass --overwrite"):
        train(data, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"end it in \.safetensors"):
        train(data, tmp_path / f"net{ending}", overwrite=True)
    assert (tmp_path / f"net{ending}").read_text() == "precious"


def test_the_epochs_of_another_training_do_not_stay(data: Path, tmp_path: Path) -> None:
    for epochs in (3, 1):
        chosen = ClassifierTraining(epochs=epochs, batch_size=8)
        train(data, tmp_path / "net.safetensors", chosen, keep_epochs=True, overwrite=True)
    kept = sorted(path.name for path in (tmp_path / "net.epochs").iterdir())
    assert kept == ["000.safetensors", "001.safetensors"]
