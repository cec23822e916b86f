"""Which device to run on."""

import torch


def choose_device(name: str) -> str:
    """``auto`` is CUDA where there is one, then MPS, then the CPU; other names are checked.

    Raises
    ------
    ValueError : for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} is not to be had here ({reason}); try cpu") from error
    return name
