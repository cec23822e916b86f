"""Networks that are built here, for weights from elsewhere. The weights may be partial."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ephys.models.alexnet import AlexNet, CaffeNet
from ephys.models.input_format import InputFormat, named_format
from ephys.models.loading import Request, seeded, with_format
from ephys.models.state_dicts import fetch, fill, without_prefix
from ephys.models.vgg import VGG


class BuiltIn(NamedTuple):
    """A network and what is published of it.

    Parameters
    ----------
    size_px : side of the images that it was made for.
    input_format : name of the format of its published weights.
    published : address of the file with them, whose name ends in its hash.
    """

    about: str
    build: Callable[[], nn.Module]
    size_px: int = 224
    input_format: str = "torchvision"
    published: str | None = None

    def format(self) -> InputFormat:
        """What the published weights take."""
        return named_format(self.input_format, height_px=self.size_px, width_px=self.size_px)


SITE = "https://download.pytorch.org/models/"  # torchvision's IMAGENET1K_V1 weights
VGG_FILES = {
    "vgg11": "vgg11-8a719046.pth",
    "vgg13": "vgg13-19584684.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "vgg11_bn": "vgg11_bn-6002323d.pth",
    "vgg13_bn": "vgg13_bn-abd245e5.pth",
    "vgg16_bn": "vgg16_bn-6c64b313.pth",
    "vgg19_bn": "vgg19_bn-c79401a0.pth",
}


def _vgg(name: str, file: str) -> BuiltIn:
    depth, batch_norm = int(name[3:5]), name.endswith("_bn")
    about = f"VGG-{depth}{' with batch normalization' * batch_norm}; weights fetched or a file's"
    return BuiltIn(about, partial(VGG, depth, batch_norm=batch_norm), published=SITE + file)


NETWORKS = {
    **{name: _vgg(name, file) for name, file in VGG_FILES.items()},
    "alexnet": BuiltIn(
        "AlexNet in one stream, as in torchvision; weights fetched or a file's",
        AlexNet,
        published=SITE + "alexnet-owt-7be5be79.pth",
    ),
    "caffenet": BuiltIn(
        "AlexNet in two groups, as in Caffe; weights from a file",
        CaffeNet,
        size_px=227,
        input_format="caffenet",
    ),
}


def load_built_in(request: Request) -> nn.Module:
    """``NAME``, with the weights of a file or the published ones; ``NAME@none``, untrained."""
    name, at, _ = request.name.partition("@")
    network = NETWORKS[name]
    if at and request.weights:
        raise ValueError(f"{request.name} is untrained; name {name} to pass it weights")
    if at:
        with seeded():
            return _build(name, request.chosen_format(network.format()))
    if request.weights:
        model = unloaded(name, request.required_format(network.format()))
        weights = request.read_weights()
        try:
            fill(model, weights, partly=True)
        except ValueError as error:
            known = " or ".join(fitting(weights))
            others = f"; these could be weights of {known}" if known else ""
            raise ValueError(f"{request.weights}: {error}{others}") from error
        return model
    if network.published is None:
        raise ValueError(
            f"no weights of {name} are published as a file to fetch; pass --weights FILE "
            f"--input-format {network.input_format}, or name {name}@none for an untrained one"
        )
    if request.chosen_format(network.format()) != network.format():
        raise ValueError(
            f"torchvision's published weights do not take {request.input_format!r} input; "
            "drop --input-format"
        )
    model = unloaded(name)
    fill(model, fetch(network.published), partly=True)
    return model


def unloaded(name: str, input_format: InputFormat | None = None) -> nn.Module:
    """A network on the meta device: names and shapes without weights, which cost nothing.

    Parameters
    ----------
    name : one of ``NETWORKS``.
    input_format : what it is to take; by default what its published weights take.
    """
    with torch.device("meta"):
        return _build(name, input_format or NETWORKS[name].format())


def fitting(weights: Mapping[str, Tensor]) -> list[str]:
    """The networks that have all of these weights."""
    return [name for name in NETWORKS if _fits(weights, unloaded(name).state_dict())]


def _build(name: str, input_format: InputFormat) -> nn.Module:
    network: Any = NETWORKS[name].build()
    rectified = [name for name, layer in network.named_modules() if isinstance(layer, nn.ReLU)]
    network.default_layers = tuple(rectified[:2])  # of the first two convolutions
    return with_format(network, input_format)


def _fits(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    plain = without_prefix(weights, own)
    return all(name in own and own[name].shape == plain[name].shape for name in plain)
