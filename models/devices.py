"""Which device to run on."""

import os
from itertools import chain

import torch
from torch import nn

KINDS = ("cpu", "cuda", "mps")


def choose_device(name: str) -> str:
    """``auto`` is CUDA where there is one, then MPS, then the CPU; other names are checked.

    Of several processes that ``torchrun`` started, each takes a CUDA device of its own by ``auto``.

    Raises
    ------
    ValueError : for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            rank = int(os.environ.get("LOCAL_RANK", "0"))
            return f"cuda:{rank % torch.cuda.device_count()}" if rank else "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if name.split(":")[0] not in KINDS:
        kinds = ", ".join(KINDS)
        raise ValueError(f"device {name!r} is not to be had here (none of {kinds}); try cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} is not to be had here ({reason}); try cpu") from error
    return name


def placement(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a model is and in which precision, by its first loaded weight or buffer.

    The CPU and float32 for a model with neither.
    """
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.is_floating_point() and not tensor.is_meta:
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def move(model: nn.Module, device: str) -> nn.Module:
    """The model on a device, but for weights on ``meta``, of which there is nothing to move."""
    return model._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(device))  # type: ignore[no-untyped-call]
