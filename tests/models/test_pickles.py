"""Pickles read as data: containers and arrays of bytes; nothing is called, none is endless."""

import pickle
from typing import Any

import numpy as np
import pytest

from ephys.models.pickles import unpickled

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_names_lists_and_arrays(protocol: int) -> None:
    written = {b"names": [b"caf\xe9", "tea", 3], "pixels": PIXELS, "count": 2**70}
    found = unpickled(pickle.dumps(written, protocol), "it")
    assert (found["names"], found["count"]) == (["caf\xe9", "tea", 3], 2**70)
    np.testing.assert_array_equal(found["pixels"], PIXELS)
    assert found["pixels"].dtype == np.uint8


@pytest.mark.parametrize(
    "value",
    [PIXELS.astype(np.int8), PIXELS.astype(float), PIXELS[0], PIXELS[None], np.dtype("u1")],
)
def test_other_arrays_are_none(value: Any) -> None:
    assert unpickled(pickle.dumps({"data": value}, 2), "it") == {"data": None}


@pytest.mark.parametrize("rows", [2, 4, 2**31 - 1, -1, -3])
def test_an_array_of_other_bytes_than_its_shape_is_none(rows: int) -> None:
    content = pickle.dumps({"data": PIXELS}, 2)
    shape = b"K\x03K\x04\x86"
    assert content.count(shape) == 1
    sides = [b"J" + side.to_bytes(4, "little", signed=True) for side in (rows, 4)]
    assert unpickled(content.replace(shape, b"".join(sides) + b"\x86"), "it") == {"data": None}
    both = [b"J" + side.to_bytes(4, "little", signed=True) for side in (-3, -4)]
    assert unpickled(content.replace(shape, b"".join(both) + b"\x86"), "it") == {"data": None}


def test_lists_within_lists_are_not_followed() -> None:
    """Neither one that holds itself, nor 2 ** 60 items by way of 60 lists."""
    endless: list[Any] = []
    endless.append(endless)
    doubled: list[Any] = []
    for _ in range(60):
        doubled = [doubled, doubled]
    found = unpickled(pickle.dumps({"endless": endless, "doubled": doubled}, 2), "it")
    assert len(found["endless"]) == 1
    assert len(found["doubled"]) == 2


def test_refusals_are_one_line() -> None:
    with pytest.raises(ValueError, match=r"^it is refused: it names 'builtins.eval', which could "):
        unpickled(b"cbuiltins\neval\n(Vprint(1)\ntR.", "it")
    with pytest.raises(ValueError, match=r"^it is refused: it holds a list, no dictionary; get "):
        unpickled(b"\x80\x02]K\x01a.", "it")
