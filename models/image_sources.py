"""What a source of labeled images tells before they are read, and how one image is decoded.

Sources come from strangers: errors of the libraries that read them become refusals in one line.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

EXACT_MODES = {"RGB", "L", "P", "1"}  # PIL's, of which nothing is lost in RGB


@dataclass(frozen=True)
class UnreadImages:
    """Images to be read one by one, and the class that each shows.

    Parameters
    ----------
    read : of the index of an image, its uint8 (3, y, x); several threads call it.
    names : of the images, to refuse one by.
    labels : int64 (image,), indices into the classes of the source.
    """

    read: Callable[[int], np.ndarray]
    names: Sequence[str]
    labels: np.ndarray


@dataclass(frozen=True)
class ImageSource:
    """What to train on and what to test on; ``about`` says in one line what the images are."""

    train: UnreadImages
    test: UnreadImages
    classes: tuple[str, ...]
    about: str


class RefusedError(ValueError):
    """Says all there is to say, among errors of others that do not."""


@contextmanager
def refused(what: str, way_out: str) -> Iterator[None]:
    """Any error of a library that reads a damaged file as one line; none of them lists its own."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        said = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise ValueError(f"{what}: {said}; {way_out}") from error


def decoded(file: Path | io.BytesIO, where: str) -> np.ndarray:
    """Uint8 (3, y, x) of one JPEG or PNG image; ``where`` names it when it is refused."""
    with refused(f"{where} cannot be read as an image", "remove or replace it"):
        try:
            opened = Image.open(file, formats=("JPEG", "PNG"))
        except UnidentifiedImageError as error:  # whose text tells only of the stream
            raise ValueError("it is no JPEG or PNG") from error
        with opened as image:
            mode = image.mode + " with transparency" * ("transparency" in image.info)
            if mode not in EXACT_MODES:
                raise RefusedError(
                    f"{where} is neither RGB nor gray (PIL mode {mode}); convert it to RGB, or "
                    "remove it"
                )
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether ``path`` is a file whose first bytes say that it is of a kind."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic
