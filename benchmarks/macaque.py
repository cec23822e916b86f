"""How close first layers come to macaque V1: ``EPHYS_DATA=... python benchmarks/macaque.py``.

Trained networks and untrained copies of them see the gratings of Marques, Schrimpf & DiCarlo (2021)
as these authors show them and as corrected here, and their units are compared with cells on 15
properties. The networks on ImageNet see 8 degrees, and so does the super-resolution network, at
its own 15 pixels per degree: an image of 120 pixels. Writes ``results/macaque_v1.csv``.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from ephys import models
from ephys.analysis import by_layer
from ephys.data_folders import data_folder
from ephys.experiment import choose_readout
from ephys.macaque_v1 import score
from ephys.models.input_format import own_format
from ephys.models.superres import SuperResolution, SuperResolutionSettings
from ephys.recording import record
from ephys.stimuli.protocols import protocol
from ephys.tables import labeled, macaque_properties

RESULTS = Path(__file__).parent / "results"
PROTOCOLS = ("marques2020", "marques2020_corrected")
DEGREES = 8.0
SUPERRES_PX = 120


def caffenet(trained: bool) -> nn.Module:
    weights = data_folder("alexnet_imagenet") / "caffenet_conv_head.safetensors"
    if not trained:
        return models.load("caffenet@none", input_format="caffenet")
    return models.load("caffenet", weights=weights, input_format="caffenet")


def vgg16(trained: bool) -> nn.Module:
    weights = data_folder("vgg16_imagenet") / "vgg16_conv_head.safetensors"
    if not trained:
        return models.load("vgg16@none", input_format="caffe")
    return models.load("vgg16", weights=weights, input_format="caffe")


def superres(trained: bool) -> nn.Module:
    """Only the normalization layer is untrained, since the Gabor bank is never trained."""
    if trained:
        return models.load("superres-divnormei")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SuperResolution(SuperResolutionSettings())


NETWORKS: dict[str, tuple[Callable[[bool], nn.Module], list[str]]] = {
    "caffenet": (caffenet, ["relu1"]),
    "vgg16": (vgg16, ["features.1", "features.3", "features.6", "features.8"]),
    "superres-divnormei": (superres, ["encoder.gabor_bank", "encoder.normalization"]),
}


def main() -> None:
    tables = []
    for network, (load, layers) in NETWORKS.items():
        for trained in (True, False):
            for name in PROTOCOLS:
                started = time.perf_counter()
                where = {"protocol": name, "network": network, "trained": trained}
                tables += [labeled(where, table) for table in scores(load(trained), name, layers)]
                print(network, trained, name, f"{time.perf_counter() - started:.0f} s", flush=True)
                found = pd.concat(tables)
                found.to_csv(RESULTS / "macaque_v1.csv", index=False, float_format="%.4g")


def scores(model: nn.Module, name: str, layers: list[str]) -> list[pd.DataFrame]:
    """A table for each layer, with the medians over units."""
    size = SUPERRES_PX if isinstance(model, SuperResolution) else None
    shown = own_format(model).resized(size, DEGREES)
    stimuli = protocol(name, shown.field).stimuli
    responses = record(model, stimuli, layers, readout=choose_readout(stimuli), input_format=shown)
    tables = []
    for layer, part in by_layer(responses):
        found = macaque_properties(part)
        table = score(found).reset_index()
        table.insert(0, "layer", layer)
        tables.append(table)
    return tables


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
