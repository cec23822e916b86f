"""Where models come from: a name or a file, to a module on the CPU in evaluation mode."""

import difflib
import sys
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from ephys.models.checkpoint import load_checkpoint, read_torch_file, read_weights
from ephys.models.input_format import InputFormat
from ephys.models.vgg import INPUT_FORMATS, PUBLISHED, VGG16, vgg16

SHIPPED = {
    "superres-divnormei": "DivNormEI, excitation from the normalized response (authors' code)",
    "superres-divnormei-eq3": "DivNormEI, excitation from the drive (Eq. 3 as printed)",
    "superres-divnorm": "divisive normalization without lateral connections",
    "superres-gabor": "no normalization: the decoder reads the Gabor bank",
}
BUILT_IN = {"vgg16": "VGG-16 in torchvision's layout; weights from --weights, or fetched"}
FORMAT_HINT = (
    "torchvision (RGB / 255, ImageNet mean and s.d.), caffe (RGB 0 to 255 minus the mean color) "
    "or unit (RGB 0 to 1)"
)


def load(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    input_format: str | None = None,
    device: str = "cpu",
) -> nn.Module:
    """A model with its weights and its ``input_format``.

    Parameters
    ----------
    name : a shipped network (``SHIPPED``), a checkpoint file of ``ephys train``, or ``"vgg16"``.
    weights : for ``"vgg16"``, a ``.safetensors`` or ``.pth`` state_dict, which may hold only the
        first layers; by default torchvision's published file is fetched and its hash checked.
    input_format : what those weights take: ``"torchvision"``, ``"caffe"`` or ``"unit"``.
    device : where to put it, see ``choose_device``.

    Raises
    ------
    KeyError : for a name that is none of these, naming the nearest.
    FileNotFoundError, ValueError : for a file that is missing, damaged, or not of this network.
    ConnectionError : if the published weights cannot be fetched.
    """
    known, path = [*SHIPPED, *BUILT_IN], Path(name)
    if str(name) not in known and path.suffix != ".safetensors":
        if path.is_file():
            raise ValueError(
                f"{name} does not say of which network it is; name the network and pass the file: "
                f"vgg16 --weights {name} --input-format FORMAT"
            )
        if not str(name) or not path.exists():
            close = difflib.get_close_matches(str(name), known, n=2, cutoff=0.3) or known
            raise KeyError(
                f"no model {str(name)!r}; did you mean {' or '.join(close)}, or a checkpoint?"
            )
    if name == "vgg16":
        return _vgg16(Path(weights) if weights else None, input_format, device)
    if weights or input_format:
        raise ValueError(f"{name} brings its own weights and input format; name vgg16 to pass them")
    if name in SHIPPED:
        return load_checkpoint(
            Path(str(files("ephys.models") / "weights" / f"{name}.safetensors"))
        ).to(device)
    return load_checkpoint(Path(name)).to(device)


def unloaded() -> VGG16:
    """VGG-16 without weights, of which only the layers' names can be used."""
    with torch.device("meta"):
        return VGG16(_format("torchvision"))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.pth`` file, without running anything in it.

    Raises
    ------
    FileNotFoundError : if there is no such file.
    ValueError : if it is damaged, or a pickle of more than tensors.
    """
    if path.suffix == ".safetensors":
        return read_weights(path)
    state = read_torch_file(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} is not a state_dict, a dictionary of tensors")
    return state


def _vgg16(weights: Path | None, input_format: str | None, device: str) -> nn.Module:
    if weights is None:
        if input_format not in (None, "torchvision"):
            raise ValueError(f"torchvision's published weights do not take {input_format!r} input")
        return vgg16(fetch(PUBLISHED), _format("torchvision"), device)
    if input_format is None:
        raise ValueError(f"which input does {weights} take? pass --input-format {FORMAT_HINT}")
    chosen = _format(input_format)
    state = read_state_dict(weights)
    try:
        return vgg16(state, chosen, device)
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error


def fetch(url: str) -> dict[str, Tensor]:
    """Published weights, kept in torch's cache; a file's name ends in its hash, which is checked.

    Raises
    ------
    ConnectionError : if they cannot be fetched; the message says which file to get.
    ValueError : if what came does not have the hash.
    """
    name = url.rsplit("/", 1)[-1]
    kept = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        sha256_prefix = name.rsplit("-", 1)[-1].split(".")[0]
        try:
            torch.hub.download_url_to_file(
                url, str(kept), hash_prefix=sha256_prefix, progress=sys.stderr.isatty()
            )
        except OSError as error:
            raise ConnectionError(
                f"cannot fetch {url} ({error}); get that file elsewhere and pass it with "
                "--weights FILE --input-format torchvision"
            ) from error
        except RuntimeError as error:
            raise ValueError(f"what came from {url} is not the published file ({error})") from error
    try:
        return read_state_dict(kept)
    except ValueError as error:
        raise ValueError(f"{error}. It came from {url}; remove it to fetch it again") from error


def _format(name: str) -> InputFormat:
    if name not in INPUT_FORMATS:
        raise KeyError(f"no input format {name!r}; there are {FORMAT_HINT}")
    return INPUT_FORMATS[name]
