"""A trained network in one file: weights as safetensors, and in its header how to rebuild it.

The header entry ``ephys`` is JSON: ``architecture``, ``settings``, and what the training noted.
Nothing in such a file is ever run.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ephys.models.superres import SuperResolution
from ephys.models.twolayer import TwoLayerCNN

HEADER = "ephys"
ARCHITECTURES: dict[str, type[SuperResolution] | type[TwoLayerCNN]] = {
    "superres": SuperResolution,
    "twolayer": TwoLayerCNN,
}


def save_checkpoint(
    path: Path, model: SuperResolution | TwoLayerCNN, notes: dict[str, Any]
) -> None:
    """Write the model and the notes about it, whole or not at all."""
    (architecture,) = [name for name, kind in ARCHITECTURES.items() if isinstance(model, kind)]
    header = {"architecture": architecture, "settings": model.describe(), **notes}
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(path, save(weights, metadata={HEADER: json.dumps(header)}))


def load_checkpoint(path: Path) -> nn.Module:
    """Rebuild the network that ``save_checkpoint`` wrote, in evaluation mode.

    Raises
    ------
    FileNotFoundError, ValueError : if there is no such file, or it is not a whole checkpoint.
    """
    header, weights = read_header(path), read_weights(path)
    network = ARCHITECTURES.get(str(header.get("architecture")))
    if network is None:
        raise ValueError(
            f"{path} holds weights but does not say of which network; name it with --arch"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # building a network draws its initial weights
            model = network.of(header["settings"])
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} does not fit the network that it names: {reason}") from error
    return model.eval()


def read_header(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; empty for safetensors files from elsewhere."""
    with _opened(path) as file:
        text = (file.metadata() or {}).get(HEADER, "{}")
    try:
        header = json.loads(text)
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a damaged header: {text[:40]!r} is no JSON object")
    return header


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name."""
    with _opened(path):
        return load_file(path)


def read_torch_file(path: Path, *, trust_pickle: bool = False) -> Any:
    """What ``torch.save`` wrote, if it is tensors and plain values; nothing in it is run.

    Parameters
    ----------
    trust_pickle : read anything, by running whatever code the maker of the file put there.

    Raises
    ------
    FileNotFoundError : if there is no such file.
    ValueError : if it is damaged, or a pickle of anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the kind of pickle; what matters is said below
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:  # torch documents none, and raises of many kinds for damaged files
        if trust_pickle:
            what = f"it cannot be un-pickled here ({type(error).__name__}: {error})"
            raise ValueError(f"{path} is refused: {' '.join(what.split())}") from error
        raise ValueError(
            f"{path} is refused: it is damaged, or a pickle of more than tensors and plain values, "
            "which could run code; save a state_dict() instead"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step: a reader, or a crash, never sees half of it."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _opened(path: Path) -> safe_open:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file ({error})") from error
