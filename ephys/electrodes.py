"""Electrodes: catch what layers answer, and leave the model as it was."""

import difflib
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

Readout = Callable[[str, Tensor], Tensor]


def copy(layer: str, output: Tensor) -> Tensor:
    """All of a layer's output, safe from later operations in place."""
    return output.clone()


@contextmanager
def electrodes(
    model: nn.Module, layers: Sequence[str], *, readout: Readout = copy
) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
    """Record from layers for as long as the block lasts.

    Yields a function that shows a batch of inputs to the model and returns, by layer, what each
    answered. The forward pass stops as soon as every layer has answered once, so what lies behind
    the deepest is never computed. In the block the model is in evaluation mode; after it the
    hooks are gone, and mode and random state are what they were, also after an exception.

    Parameters
    ----------
    model : on whatever device it is.
    layers : exact names, as in ``model.named_modules()``.
    readout : makes of a layer's name and output what is kept. By default a copy, since a later
        operation in place (a ReLU, say) would change the output itself.

    Raises
    ------
    KeyError : for a layer that the model does not have, naming the nearest; and when inputs are
        shown, for one that the forward pass does not reach.
    ValueError : when inputs are shown, for a layer whose output is not one tensor.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
    >>> with electrodes(model, ["0"]) as show:
    ...     caught = show(torch.zeros(2, 1, 8, 8))
    >>> caught["0"].shape
    torch.Size([2, 4, 6, 6])
    """
    modules = {name: _module(model, name) for name in layers}
    caught: dict[str, Tensor] = {}

    def show(inputs: Tensor) -> dict[str, Tensor]:
        caught.clear()
        with suppress(_EveryLayerAnswered):
            model(inputs)
        if missing := [name for name in modules if name not in caught]:
            raise KeyError(f"the forward pass does not reach {', '.join(missing)}")
        return dict(caught)

    def catch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"layer {name!r} answers with a {type(output).__name__}, not with one tensor; "
                    "record from a layer within it"
                )
            if name not in caught:
                caught[name] = readout(name, output)
            if len(caught) == len(modules):
                raise _EveryLayerAnswered

        return hook

    was_training = {module: module.training for module in model.modules()}
    cuda_devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    handles = []
    with torch.random.fork_rng(devices=cuda_devices):
        try:
            model.eval()
            for name, module in modules.items():
                handles.append(module.register_forward_hook(catch(name)))
            yield show
        finally:
            for handle in handles:
                handle.remove()
            for module, training in was_training.items():
                module.training = training


def find_layers(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Names of the layers that any of the patterns fits, in the order of the model.

    Parameters
    ----------
    patterns : exact names, or globs such as ``encoder.*``, in which a star stands for names
        between two dots.

    Raises
    ------
    KeyError : for a pattern that fits none, naming the nearest.
    """
    names = [name for name, _ in model.named_modules() if name]
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in names):
            raise KeyError(_unknown(pattern, names))
    return [name for name in names if any(_fits(name, pattern) for pattern in patterns)]


class _EveryLayerAnswered(BaseException):
    """Ends a forward pass of which nothing more is wanted."""


def _fits(name: str, pattern: str) -> bool:
    parts, globs = name.split("."), pattern.split(".")
    return len(parts) == len(globs) and all(map(fnmatch.fnmatchcase, parts, globs))


def _module(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules:
        raise KeyError(_unknown(name, [known for known in modules if known]))
    return modules[name]


def _unknown(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    return f"the model has no layer {name!r}; did you mean {' or '.join(close)}?"
