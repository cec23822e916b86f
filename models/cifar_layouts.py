"""The official files of CIFAR-10 and CIFAR-100: which there are, and what is in each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ephys.models.pickles import unpickled

SIDE_PX = 32


@dataclass(frozen=True)
class Layout:
    """The files of one version of a data set, and how to read them.

    Of the bytes of a file, and of what to call it where it is refused, ``batch`` makes pixels uint8
    (image, 3072), red before green before blue, and as many labels; ``classes`` makes the names.
    """

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    batch: Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]
    classes: Callable[[bytes, str], list[Any]]

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.meta)


def _binary_batch(content: bytes, where: str, *, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Records of so many bytes of labels, the last of which counts, and then the pixels."""
    length = labels + 3 * SIDE_PX**2
    if not content or len(content) % length:
        raise ValueError(
            f"{where} has {len(content)} bytes; expected is a multiple of {length}; get it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return records[:, labels:], records[:, labels - 1]


def _text_classes(content: bytes, where: str) -> list[Any]:
    return [line.strip() for line in content.decode("latin-1").splitlines() if line.strip()]


def _pickled_batch(content: bytes, where: str, *, labels: str) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickled(content, where)
    pixels, found = batch.get("data"), batch.get(labels)
    if not isinstance(pixels, np.ndarray) or pixels.shape[1] != 3 * SIDE_PX**2:
        raise ValueError(f"{where} holds no 'data' of uint8 (image, {3 * SIDE_PX**2})")
    if not isinstance(found, list) or not all(type(label) is int for label in found):
        raise ValueError(f"{where} holds no {labels!r} that is a list of whole numbers")
    if not 0 < len(pixels) == len(found):
        raise ValueError(f"{where} holds {len(pixels)} images and {len(found)} labels")
    return pixels, np.array(found, object)  # which holds a number of any size, to be refused


def _pickled_classes(content: bytes, where: str, *, names: str) -> list[Any]:
    found = unpickled(content, where).get(names)
    if not isinstance(found, list):
        raise ValueError(f"{where} holds no list {names!r}")
    return found


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
LAYOUTS = (
    Layout(
        name="CIFAR-10, binary version",
        folder="cifar-10-batches-bin",
        train=tuple(f"{batch}.bin" for batch in _BATCHES),
        test="test_batch.bin",
        meta="batches.meta.txt",
        batch=partial(_binary_batch, labels=1),
        classes=_text_classes,
    ),
    Layout(
        name="CIFAR-10, python version",
        folder="cifar-10-batches-py",
        train=_BATCHES,
        test="test_batch",
        meta="batches.meta",
        batch=partial(_pickled_batch, labels="labels"),
        classes=partial(_pickled_classes, names="label_names"),
    ),
    Layout(
        name="CIFAR-100 (fine labels), binary version",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
        meta="fine_label_names.txt",
        batch=partial(_binary_batch, labels=2),  # the coarse label, and the fine one
        classes=_text_classes,
    ),
    Layout(
        name="CIFAR-100 (fine labels), python version",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        meta="meta",
        batch=partial(_pickled_batch, labels="fine_labels"),
        classes=partial(_pickled_classes, names="fine_label_names"),
    ),
)
OFFICIAL_FILES = [name for layout in LAYOUTS for name in layout.files]
