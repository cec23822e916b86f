"""Electrodes: catch what layers answer, and leave the model as it was."""

import fnmatch
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ephys.nearest import nearest


def copy(layer: str, output: Tensor) -> Tensor:
    """All of a layer's output, safe from later operations in place."""
    return output.clone()


@contextmanager
def electrodes(
    model: nn.Module,
    layers: Sequence[str],
    *,
    readout: Callable[[str, Tensor], Tensor] = copy,
    forward: Callable[[Tensor], Any] | None = None,
) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
    """Record from layers for as long as the block lasts.

    Yields a function that shows a batch of inputs to the model and returns, by layer, what each
    answered. The forward pass stops as soon as every layer has answered, so what lies behind
    the deepest is never computed. In the block the model is in evaluation mode; after it the
    hooks are gone, and mode and random state are what they were, also after an exception.

    Parameters
    ----------
    model : on whatever device it is.
    layers : exact names, as in ``model.named_modules()``. ``name#2`` is the second call of a layer
        that is called several times in a pass, ``name`` the first. Of a layer that answers with
        several tensors, ``name/1`` or ``name/key`` is one.
    readout : makes of a layer's name and output what is kept. By default a copy, since a later
        operation in place (a ReLU, say) would change the output itself.
    forward : runs the model, a compiled form of it, say; by default the model is called.

    Raises
    ------
    KeyError : for a layer that the model does not have, naming the nearest; and when inputs are
        shown, for one that the forward pass does not reach.
    ValueError : when inputs are shown, for a layer whose output is not one tensor of real numbers.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
    >>> with electrodes(model, ["0"]) as show:
    ...     caught = show(torch.zeros(2, 1, 8, 8))
    >>> caught["0"].shape
    torch.Size([2, 4, 6, 6])
    """
    contacts = [Contact.parse(layer) for layer in dict.fromkeys(layers)]
    caught: dict[str, Tensor] = {}

    def catch(name: str, call: int, output: Any) -> bool:
        for contact in contacts:
            if (contact.name, contact.call or 1) == (name, call):
                caught[contact.label] = readout(contact.label, contact.tensor(output))
        return len(caught) == len(contacts)

    def show(inputs: Tensor) -> dict[str, Tensor]:
        caught.clear()
        run(inputs)
        if missing := [layer for layer in layers if layer not in caught]:
            raise KeyError(f"the forward pass does not reach {', '.join(missing)}")
        return dict(caught)

    with listening(model, {contact.name for contact in contacts}, catch, forward) as run:
        yield show


@contextmanager
def listening(
    model: nn.Module,
    names: Iterable[str],
    hear: Callable[[str, int, Any], bool],
    forward: Callable[[Tensor], Any] | None = None,
) -> Iterator[Callable[[Tensor], None]]:
    """Hear of every call of some layers: its name, the number of the call from 1, the output.

    The forward pass ends where ``hear`` answers with true.

    Yields a function that shows a batch of inputs to the model. Otherwise as ``electrodes``.
    """
    known = dict(model.named_modules())
    modules = {name: _named(name, known) for name in names}
    calls: dict[str, int] = {}

    def run(inputs: Tensor) -> None:
        calls.update(dict.fromkeys(modules, 0))
        with suppress(_HeardEnough):
            (forward or model)(inputs)

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] += 1
            if hear(name, calls[name], output):
                raise _HeardEnough

        return hook

    was_training = {module: module.training for module in model.modules()}
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    short_mantissas = torch.backends.cudnn.allow_tf32
    handles = []
    with _same_random_states(model):
        try:
            for module in was_training:
                module.training = False
            torch.backends.mha.set_fastpath_enabled(False)  # it would pass the layers within by
            torch.backends.cudnn.allow_tf32 = False  # it would round to 10 bits
            for name, module in modules.items():
                handles.append(module.register_forward_hook(hook_of(name)))
            yield run
        finally:
            for handle in handles:
                handle.remove()
            torch.backends.mha.set_fastpath_enabled(fused_attention)
            torch.backends.cudnn.allow_tf32 = short_mantissas
            for module, training in was_training.items():
                module.training = training


@dataclass(frozen=True)
class Contact:
    """Where an electrode sits: on a layer, one of its calls, and one member of its output.

    Where the label names no call or member, ``call`` is None and ``member`` empty.
    """

    name: str
    call: int | None = None
    member: str = ""
    label: str = ""

    @classmethod
    def parse(cls, label: str) -> "Contact":
        """``name``, ``name#call``, ``name/member`` or ``name#call/member``."""
        rest, _, member = label.partition("/")
        name, numbered, call = rest.partition("#")
        if numbered and not (call.isdecimal() and int(call) > 0):
            raise KeyError(f"layer {label!r}: calls are counted from 1, as in {name}#1")
        return cls(name, int(call) if call else None, member, label)

    def at_call(self, call: int) -> str:
        """The label of one call of a layer that is called several times."""
        return f"{self.name}#{call}" + (f"/{self.member}" if self.member else "")

    def tensor(self, output: Any) -> Tensor:
        """The one tensor of an output, or the member that is asked for.

        Raises
        ------
        ValueError : if there is no such one, or not of real numbers.
        """
        members = _members(output)
        if self.member in members or (not self.member and len(members) == 1):
            tensor = members.get(self.member, next(iter(members.values())))
            if tensor.is_floating_point():
                return tensor
            raise ValueError(
                f"layer {self.label!r} answers with numbers of type {tensor.dtype}; units are read "
                "from real numbers"
            )
        way_out = f"name one: {', '.join(f'{self.label}/{key}' for key in members)}"
        if self.member:
            way_out = f"{self.member!r} is none of {', '.join(members)}"
        if not members:
            way_out = "record from a layer within it"
        raise ValueError(
            f"layer {self.label!r} answers with a {type(output).__name__} of {len(members)} "
            f"tensors; {way_out}"
        )


def find_layers(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Names of the layers that any of the patterns fits, in the order of the model.

    Parameters
    ----------
    patterns : exact names; globs such as ``encoder.*``, in which a star stands for names between
        two dots; regular expressions for the whole name, ``re:layer[34]\\..*``; types,
        ``type:Conv2d``; or ``all``, for every layer without layers in it. Names and globs may end
        in a call or a member, ``relu#2`` or ``attention/0``.

    Raises
    ------
    KeyError : for a pattern that fits none, naming the nearest.
    ValueError : for a regular expression that is none.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    found: dict[str, list[str]] = {name: [] for name in modules}
    for pattern in patterns:
        fits, suffix = _pattern(pattern)
        matched = [name for name, module in modules.items() if fits(name, module)]
        if not matched:
            raise KeyError(_unknown(pattern, modules))
        for name in matched:
            if name + suffix not in found[name]:
                found[name].append(name + suffix)
    return [label for labels in found.values() for label in labels]


def is_exact(label: str, patterns: Sequence[str]) -> bool:
    """Whether a layer, or a call of it, is asked for by its name and not by what it is like."""
    contact = Contact.parse(label)
    return label in patterns or label.replace(f"#{contact.call}", "", 1) in patterns


@contextmanager
def _same_random_states(model: nn.Module) -> Iterator[None]:
    """Those of PyTorch, numpy and Python after the block as before it."""
    cuda_devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=cuda_devices):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


class _HeardEnough(BaseException):
    """Ends a forward pass of which nothing more is wanted."""


def _pattern(pattern: str) -> tuple[Callable[[str, nn.Module], bool], str]:
    """What tells whether a layer fits, and the call or member that is asked of it."""
    kind, _, rest = pattern.partition(":")
    if pattern == "all":
        return lambda name, module: not any(module.children()), ""
    if kind == "re":
        try:
            expression = re.compile(rest)
        except re.error as error:
            raise ValueError(f"layers {pattern!r} is no regular expression ({error})") from error
        return lambda name, module: expression.fullmatch(name) is not None, ""
    if kind == "type":
        return lambda name, module: type(module).__name__ == rest, ""
    glob = Contact.parse(pattern).name
    return lambda name, module: name == glob or _fits(name, glob), pattern.removeprefix(glob)


def _fits(name: str, pattern: str) -> bool:
    parts, globs = name.split("."), pattern.split(".")
    return len(parts) == len(globs) and all(map(fnmatch.fnmatchcase, parts, globs))


def _members(output: Any) -> dict[str, Tensor]:
    """The tensors of an output by their key or index; one alone has none."""
    if isinstance(output, Tensor):
        return {"": output}
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items() if isinstance(value, Tensor)}
    if isinstance(output, tuple | list):
        return {str(i): value for i, value in enumerate(output) if isinstance(value, Tensor)}
    return {}


def _named(name: str, modules: Mapping[str, nn.Module]) -> nn.Module:
    if name not in modules:
        raise KeyError(_unknown(name, modules))
    return modules[name]


def _unknown(pattern: str, modules: Mapping[str, nn.Module]) -> str:
    kind, _, rest = pattern.partition(":")
    if kind == "type" and rest:
        types = sorted({type(module).__name__ for module in modules.values()})
        return f"the model has no layer of type {rest!r}; did you mean {nearest(rest, types)}?"
    known = [name for name in modules if name]
    return f"the model has no layer {pattern!r}; did you mean {nearest(pattern, known)}?"
