"""Where models come from: a name or a file, to a module in evaluation mode."""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from torch import Tensor, nn

from ephys.models.built_in import NETWORKS, fitting, load_built_in
from ephys.models.built_in import unloaded as unloaded
from ephys.models.checkpoint import load_checkpoint, read_header, read_weights
from ephys.models.devices import move
from ephys.models.input_format import InputFormat
from ephys.models.loading import Request
from ephys.models.state_dicts import find_state_dict, read_pickle
from ephys.models.zoo import from_factory, from_timm, from_torchvision
from ephys.nearest import nearest

# What can be named, each in a line.
SHIPPED = {
    "superres-divnormei": "DivNormEI, excitation from the normalized response (authors' code)",
    "superres-divnormei-eq3": "DivNormEI, excitation from the drive (Eq. 3 as printed)",
    "superres-divnorm": "divisive normalization without lateral connections",
    "superres-gabor": "no normalization: the decoder reads the Gabor bank",
    **{
        f"twolayer-{normalization}-{start}": f"classifier, {what}; filters began {how}"
        for normalization, what in {
            "competition": "channels compete",
            "group": "group norm",
            "batch": "batch norm",
        }.items()
        for start, how in {"independent": "independent", "alike": "alike in groups"}.items()
    },
}
BUILT_IN = {name: network.about for name, network in NETWORKS.items()}
PATTERNS = {
    "NAME@none": "one of the networks from vgg11 on, untrained: weights drawn with a fixed seed",
    "torchvision:NAME[@WEIGHTS]": "a classifier of torchvision, say torchvision:resnet50",
    "timm:NAME[@none]": "a network of timm, say timm:convnext_tiny.fb_in1k",
    "package.module:factory": "what your own function returns, called without arguments",
    "FILE.safetensors": "a checkpoint of ephys train",
    "FILE --arch NAME": "weights (.safetensors, .pt, .pth, .bin, .ckpt) of a network named so",
    "FILE.pt2": "a program of torch.export; runs its code, so it needs --trust-pickle",
}


def load(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    arch: str | None = None,
    input_format: InputFormat | str | None = None,
    device: str = "cpu",
    trust_pickle: bool = False,
) -> nn.Module:
    """A model with its weights and its ``input_format``, in evaluation mode.

    Parameters
    ----------
    name : one of

        - a shipped network (``SHIPPED``), or a checkpoint file of ``ephys train``;
        - a network built here (``BUILT_IN``), with ``weights``, which may be those of the first
          layers only, or torchvision's published ones, which are fetched and their hash checked.
          ``vgg16@none`` is untrained, its weights drawn with a fixed seed;
        - ``torchvision:NAME``, ``torchvision:NAME@WEIGHTS``, ``timm:NAME`` with the weights that
          they publish, ``@none`` or ``weights``;
        - ``package.module:factory``, a function that is called without arguments;
        - a weights file, with the network that it is of as ``arch``;
        - ``FILE.pt2``, a program of ``torch.export``.
    weights : a state_dict: ``.safetensors``, or what ``torch.save`` made of one, alone or within a
        training checkpoint. Must be complete but for the networks of ``BUILT_IN``.
    arch : the network, any of the names above. ``load(FILE, arch=NAME)`` is
        ``load(NAME, weights=FILE)``.
    input_format : what the network takes, where that is not known from elsewhere: a name of
        ``INPUT_FORMATS``, for images of the network's own size (224 pixels if it has none), or all
        of it.
    device : where to put it, see ``choose_device``.
    trust_pickle : open files that can run code: a module saved whole, a ``.pt2`` program. Whoever
        made such a file can do with it all that you can do on this machine.

    Raises
    ------
    KeyError : for a name that is none of these, naming the nearest.
    FileNotFoundError, ValueError : for a file that is missing, damaged, of another network, or that
        could run code; and for a factory that fails.
    ConnectionError : if published weights cannot be fetched.
    ImportError : if torchvision or timm is asked for and cannot be imported.
    """
    if arch is not None:
        if weights is not None:
            raise ValueError(f"weights={weights} and the file {name}: which of them? pass one")
        name, weights = arch, name
    request = Request(
        str(name), Path(weights) if weights else None, input_format, device, trust_pickle
    )
    for pattern, resolve in RESOLVERS.items():
        if re.fullmatch(pattern, request.name, re.DOTALL):
            return move(resolve(request).eval(), device)
    if request.name and Path(request.name).exists():
        return _from_pickle(request)  # whatever it is called
    near = nearest(request.name, [*SHIPPED, *BUILT_IN])
    raise KeyError(
        f"no model {request.name!r}; did you mean {near}? torchvision's and timm's are named "
        "torchvision:NAME and timm:NAME (see: ephys models)"
    )


def _shipped(request: Request) -> nn.Module:
    request.refuse_options()
    return load_checkpoint(
        Path(str(files("ephys.models") / "weights" / f"{request.name}.safetensors"))
    )


def _from_checkpoint(request: Request) -> nn.Module:
    path = Path(request.name)
    request.refuse_options()
    if not read_header(path):
        raise _of_which_network(path, read_weights(path))
    return load_checkpoint(path)


def _from_pickle(request: Request) -> nn.Module:
    """A module that was saved whole, if that is trusted."""
    path = Path(request.name)
    content = read_pickle(path, trust_pickle=request.trust_pickle)
    if isinstance(content, nn.Module):
        if request.weights:
            request.fill(content)
        return request.equip(content)
    raise _of_which_network(path, find_state_dict(content, path))


def _of_which_network(path: Path, weights: dict[str, Tensor]) -> ValueError:
    known = " or ".join(fitting(weights))
    return ValueError(
        f"{path} does not say of which network its weights are; name it: --arch {known or 'NAME'} "
        "--input-format FORMAT"
    )


def _from_program(request: Request) -> nn.Module:
    from ephys.models.programs import from_program  # torch.export takes half a second to import

    return from_program(request)


def _any_of(names: dict[str, str]) -> str:
    return "|".join(map(re.escape, names))


# By the form of the name; the first that fits.
RESOLVERS: dict[str, Callable[[Request], nn.Module]] = {
    _any_of(SHIPPED): _shipped,
    rf"({_any_of(BUILT_IN)})(@none)?": load_built_in,
    r"torchvision:.*": from_torchvision,
    r"timm:.*": from_timm,
    r".*\.safetensors": _from_checkpoint,
    r".*\.(pt|pth|bin|ckpt)": _from_pickle,
    r".*\.pt2": _from_program,
    r"[^\W\d]\w*(\.\w+)*:[^\W\d]\w*(\.\w+)*": from_factory,
}
