"""Networks from elsewhere: torchvision's, timm's, and what a function of your own returns."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ephys.models.input_format import InputFormat
from ephys.models.loading import Request, quiet, reason, seeded, with_format
from ephys.models.state_dicts import download
from ephys.nearest import nearest

# Published weights of these expect a network that changes its input from ImageNet's mean and s.d.
# to its own; a network built without them would not.
AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True},
    "inception_v3": {"transform_input": True},
}


def from_torchvision(request: Request) -> nn.Module:
    """``torchvision:NAME[@WEIGHTS]``: a classifier of torchvision's, ``@none`` untrained.

    A file of weights is taken to be of those published as WEIGHTS, or of the default ones, unless
    an input format is given.
    """
    name, at, which = request.name.removeprefix("torchvision:").partition("@")
    models = _package("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise KeyError(
            f"torchvision has no classifier {name!r}; did you mean {nearest(name, known)}?"
        )
    published = models.get_model_weights(name).__members__
    if at and which not in ("none", *published):
        raise KeyError(
            f"{name} has no weights {which!r}; there are {', '.join(published)} and none"
        )
    if which == "none" and request.weights:
        raise ValueError(f"{request.name} is untrained; name torchvision:{name} to pass it weights")
    chosen = published["DEFAULT" if which in ("", "none") else which]
    input_format = _torchvision_format(chosen.transforms())
    if request.weights or which == "none":
        with seeded(), quiet():
            network = models.get_model(name, weights=None, **AS_PUBLISHED.get(name, {}))
        if request.weights:
            request.fill(network)
        return with_format(network, request.chosen_format(input_format))
    request.refuse_options()
    kept = download(chosen.url)
    try:
        with seeded(), quiet():
            return with_format(models.get_model(name, weights=chosen, progress=False), input_format)
    except Exception as error:  # what a damaged file leads to is many kinds of exception
        raise ValueError(
            f"{kept} is damaged ({reason(error)}); remove it to fetch it again"
        ) from error


def from_timm(request: Request) -> nn.Module:
    """``timm:NAME``: a network of timm's with its default weights, ``@none`` untrained."""
    name, at, which = request.name.removeprefix("timm:").partition("@")
    timm, data = _package("timm"), _package("timm.data")
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = nearest(architecture, timm.list_models())
        raise KeyError(f"timm has no network {architecture!r}; did you mean {near}?")
    if which == "none" and request.weights:
        raise ValueError(f"{request.name} is untrained; name timm:{name} to pass it weights")
    if at and which != "none":
        raise KeyError(f"after @ there is only none; timm's weights are named {architecture}.TAG")
    untrained = bool(at or request.weights)
    if not untrained:
        request.refuse_options()
    try:
        with seeded(), quiet():
            network = timm.create_model(name, pretrained=not untrained)
    except Exception as error:  # of whatever library fetches the weights
        kind = ConnectionError if isinstance(error, OSError) else ValueError
        raise kind(
            f"timm cannot make {name} ({reason(error)}); pass its weights with --weights FILE, or "
            f"name timm:{architecture}@none for an untrained one"
        ) from error
    if request.weights:
        request.fill(network)
    config = data.resolve_model_data_config(network)
    channels, height, width = config["input_size"]
    own = InputFormat(channels, height, width, mean=config["mean"], std=config["std"])
    return with_format(network, request.chosen_format(own))


def from_factory(request: Request) -> nn.Module:
    """``package.module:factory``: what your own function returns when it is called."""
    place, _, name = request.name.partition(":")
    with _current_folder(), seeded():
        module = _imported(place)
        try:
            factory = attrgetter(name)(module)
        except AttributeError as error:
            near = nearest(name, [known for known in dir(module) if known[0] != "_"])
            raise KeyError(f"{place} has no {name!r}; did you mean {near}?") from error
        try:
            network = factory()
        except (Exception, SystemExit) as error:
            raise ValueError(f"{request.name} fails when it is called: {reason(error)}") from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise ValueError(f"{request.name} returns a {kind}; it has to be a torch.nn.Module")
    if request.weights:
        request.fill(network)
    return request.equip(network)


def _torchvision_format(transforms: Any) -> InputFormat:
    (size,) = transforms.crop_size
    return InputFormat(3, size, size, mean=tuple(transforms.mean), std=tuple(transforms.std))


def _package(name: str) -> Any:
    """A package that is no requirement of this one."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ImportError(f"{package} cannot be imported: {reason(error)}") from error
        raise ImportError(f"there is no {package} here; pip install 'ephys[zoo]'") from error
    except Exception as error:  # a RuntimeError, where it was built for another torch
        raise ImportError(
            f"{package} cannot be imported ({reason(error)}); install the version that is made for "
            f"torch {torch.__version__}"
        ) from error


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # it is a stranger's, and may raise anything
        raise ValueError(f"cannot import {name}: {reason(error)}") from error


@contextmanager
def _current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported in the block, as with ``python -m``."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module took it away
            sys.path.remove(folder)  # the first of that name: the one that was put there
