"""Pickles read as data: nothing that one of them names is ever called.

Plain containers are made; of numpy's arrays the pickle's own words are noted, and read from.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from ephys.models.image_sources import refused

# What the official files of CIFAR, made by Python 2, and their copies by Python 3 say to call.
CALLS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def unpickled(content: bytes, where: str) -> dict[Any, Any]:
    """The dictionary that a pickle holds, by Python 2 or 3.

    Bytes, which is what text of Python 2 comes as, become text where they are a name or an item of
    a list. An array becomes uint8 (row, column), or None where it is anything else.

    Raises
    ------
    ValueError : if the pickle is damaged, names anything else to call, or holds no dictionary.
    """
    with refused(f"{where} is refused", "get the official file"):
        found = _DataUnpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(found, dict):
            raise TypeError(f"it holds a {type(found).__name__}, no dictionary")
        return {_text(name): _value(value) for name, value in found.items()}


class _Call:
    """What a pickle says to call, and with what: noted here, and never called."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, _: str.encode(text, "latin-1")
        if (module, name) not in CALLS:
            raise pickle.UnpicklingError(f"it names {f'{module}.{name}'!r}, which could run code")
        return type(name, (_Call,), {})


def _value(value: Any) -> Any:
    # Lists in lists stay: one that holds itself, or another many times over, has no end.
    if isinstance(value, list):
        return [_text(item) for item in value]
    return _array(value) if isinstance(value, _Call) else value


def _array(note: _Call) -> np.ndarray | None:
    match note.state:
        case (_, (int(rows), int(columns)), _Call(arguments=[kind, *_]), fortran, bytes(content)):
            fits = min(rows, columns) >= 0 and len(content) == rows * columns
            if type(note).__name__ == "_reconstruct" and fits and _text(kind) in ("u1", "uint8"):
                order: Any = "F" if fortran else "C"
                return np.frombuffer(content, np.uint8).reshape((rows, columns), order=order)
    return None


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value
