"""A training that can be stopped: its state in a file, and the same sums on every run."""

import io
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ephys.models.checkpoint import read_torch_file, write_atomically


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the state of a training: ``settings``, by part, and what goes on from there."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def check_output(out: Path, state_path: Path, resume: bool, overwrite: bool) -> None:
    """Refuse to lose a checkpoint, or the state of a training that was stopped.

    Raises
    ------
    IsADirectoryError, FileExistsError : naming the option that goes on.
    """
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; -o takes the checkpoint's file name")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite, or another -o")
    if state_path.exists() and not (resume or overwrite):
        raise FileExistsError(
            f"{state_path} holds a training that was stopped; pass --resume or --overwrite"
        )


def read_state(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The state of a training with these settings.

    Raises
    ------
    FileNotFoundError, ValueError : if there is none, it is damaged, or of other settings.
    """
    if not path.is_file():
        raise FileNotFoundError(f"nothing to resume: there is no {path}")
    state = read_torch_file(path)
    if not isinstance(state, dict) or "settings" not in state:
        raise ValueError(f"{path} is not the state of a training")
    for part, chosen in settings.items():
        for name, value in chosen.items():
            before = state["settings"][part].get(name)
            if before != value:
                raise ValueError(f"{path} was begun with {name}={before}, not {value}")
    return state


@contextmanager
def deterministic() -> Iterator[None]:
    """The same sums in the same order on every run, as far as the device can."""
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def versions() -> dict[str, str]:
    """Of what a training rests on."""
    return {"torch": torch.__version__, "python": platform.python_version()}
