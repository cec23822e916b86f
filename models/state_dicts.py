"""State_dicts: the weights of a network by name. From a file or the web, and into a network."""

import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ephys.models.checkpoint import read_torch_file, read_weights

# Where files that hold more than weights keep them; the first that is there is taken.
WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "weights"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
# What DataParallel, torch.compile and training scripts put before every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.")
PROGRAM = "a program of torch.export, and has to be named FILE.pt2"
ARCHIVES = {  # what else than weights a zip archive may be, by one of its members
    "constants.pkl": "TorchScript, whose layers cannot be recorded from; save the network's "
    "state_dict() and name the network with --arch, or export it with torch.export.save",
    "archive_format": PROGRAM,
    "serialized_exported_program.json": PROGRAM,
}


def read_state_dict(path: Path, *, trust_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a weights file by name; nothing in the file is run.

    Takes ``.safetensors``, and what ``torch.save`` made of a state_dict or of a dictionary that
    holds one under one of ``WRAPPERS``. What else such a dictionary holds is ignored.

    Parameters
    ----------
    trust_pickle : un-pickle the file whatever it holds, a whole module for one. This runs any code
        that the maker of the file put there.

    Raises
    ------
    FileNotFoundError : if there is no such file.
    ValueError : if it is damaged, a pickle of more than tensors and plain values, or something else
        than weights.
    """
    if path.suffix == ".safetensors":
        return read_weights(path)
    return find_state_dict(read_pickle(path, trust_pickle=trust_pickle), path)


def read_pickle(path: Path, *, trust_pickle: bool = False) -> Any:
    """What ``torch.save`` wrote; see ``read_state_dict``, which documents what is refused."""
    if path.is_file():
        members = _members(path)
        for member, what in ARCHIVES.items():
            if member in members:
                raise ValueError(f"{path} is {what}")
    if trust_pickle:
        return read_torch_file(path, trust_pickle=True)
    try:
        return read_torch_file(path)
    except ValueError as error:
        raise ValueError(f"{error}, or pass --trust-pickle if you trust its maker") from error


def find_state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state_dict that a file's content is, or holds."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        content = {}
    if content and all(isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items()):
        return dict(content)
    for name in WRAPPERS:
        if isinstance(content.get(name), Mapping | nn.Module):
            return find_state_dict(content[name], path)
    raise ValueError(
        f"{path} is not a state_dict, a dictionary of tensors, and holds none as {WRAPPERS[0]}, "
        f"{', '.join(WRAPPERS[1:-1])} or {WRAPPERS[-1]}"
    )


def fetch(url: str) -> dict[str, Tensor]:
    """Published weights, see ``download``.

    Raises
    ------
    ConnectionError : if they cannot be fetched; the message says which file to get.
    ValueError : if what came does not have the hash, or is damaged.
    """
    kept = download(url)
    try:
        return read_state_dict(kept)
    except ValueError as error:
        raise ValueError(f"{error}. It came from {url}; remove it to fetch it again") from error


def download(url: str) -> Path:
    """Where a published file is, in torch's cache; its name ends in its hash, which is checked.

    Raises
    ------
    ConnectionError, ValueError : as ``fetch``.
    """
    name = url.rsplit("/", 1)[-1]
    kept = Path(torch.hub.get_dir()) / "checkpoints" / name
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    sha256_prefix = name.rsplit("-", 1)[-1].split(".")[0]
    try:
        torch.hub.download_url_to_file(
            url, str(kept), hash_prefix=sha256_prefix, progress=sys.stderr.isatty()
        )
    except OSError as error:
        raise ConnectionError(
            f"cannot fetch {url} ({error}); get that file elsewhere and pass it with --weights "
            f"FILE, or put it into {kept.parent}"
        ) from error
    except RuntimeError as error:
        raise ValueError(f"what came from {url} is not the published file ({error})") from error
    return kept


def fill(network: nn.Module, weights: Mapping[str, Tensor], *, partly: bool = False) -> None:
    """Put weights into a network.

    A prefix before every name, one of ``PREFIXES``, is dropped if the network does not have it.

    Parameters
    ----------
    partly : the network is on the meta device, and the weights may be those of some layers only. A
        layer without weights takes no memory, and refuses, by name, when it is reached. By default
        none may be missing.

    Raises
    ------
    ValueError : for weights of another network, naming the first that does not fit.
    """
    own = network.state_dict()
    weights = without_prefix(weights, own)
    if not weights:
        raise ValueError("the file holds no weights")
    for name, tensor in weights.items():
        if name in own and tensor.shape != own[name].shape:
            shapes = tuple(tensor.shape), tuple(own[name].shape)
            raise ValueError(f"{name} has shape {shapes[0]}, and in the network {shapes[1]}")
    typed = {n: tensor.to(own[n].dtype) if n in own else tensor for n, tensor in weights.items()}
    # Which names fit is for the network to say: some know those of their earlier versions.
    missing, unexpected = network.load_state_dict(typed, strict=False, assign=partly)
    if unexpected:
        first = next(iter(own), "none")
        raise ValueError(f"the network has no weights {unexpected[0]!r}; its first are {first}")
    if partly:
        _refuse_without_weights(network)
    elif missing:
        raise ValueError(f"there are no weights {missing[0]!r}, which the network has")


def without_prefix(weights: Mapping[str, Tensor], own: Iterable[str]) -> Mapping[str, Tensor]:
    """The weights without prefixes that all of their names have and a network's names have not."""
    names = set(own)
    while weights and not names & weights.keys():
        shared = [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in weights)]
        if not shared:
            break
        weights = {name.removeprefix(shared[0]): tensor for name, tensor in weights.items()}
    return weights


def _members(path: Path) -> set[str]:
    """Names in a zip archive, also without the folder that torch puts around them; else none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return set()
    return {*names, *(name.partition("/")[2] for name in names)}


def _refuse_without_weights(network: nn.Module) -> None:
    for name, layer in network.named_modules():
        tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if any(tensor.is_meta for tensor in tensors):
            layer.register_forward_pre_hook(_refusal(name))


def _refusal(name: str) -> Callable[[nn.Module, Any], None]:
    def refuse(layer: nn.Module, inputs: Any) -> None:
        raise ValueError(f"layer {name!r} came without weights; record from layers before it")

    return refuse
