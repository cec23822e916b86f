"""Labeled images to train classifiers on: CIFAR in its official files, its JPEG copy, and folders.

Such files come from strangers. None of them can run anything here, pickles included, and nothing
is unpacked to the disk; what does not fit its format is refused by name.
"""

import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ephys.models.cifar import official_cifar
from ephys.models.cifar_jpeg import cifar_jpeg
from ephys.models.class_folders import class_folders
from ephys.models.image_sources import ImageSource, UnreadImages

UNDERSTOOD = (
    "CIFAR-10 or CIFAR-100 (binary or python version: the folder of its files, or the .tar.gz), "
    "cifar10_jpeg.npz, or a folder of class folders (CLASS/IMAGE, or train/CLASS/IMAGE with test/ "
    "or val/ beside it)"
)
# Each answers None where a path is nothing of its own; the first that knows it is taken.
SOURCES: tuple[Callable[[Path], ImageSource | None], ...] = (
    cifar_jpeg,
    official_cifar,
    class_folders,
)
LARGEST_IMAGES = 16 * 2**30  # bytes of the images of one split, all in memory
PER_TASK = 256  # images read by a thread at a time


@dataclass(frozen=True)
class LabeledImages:
    """Images, and the class that each shows.

    Parameters
    ----------
    images : uint8 (image, channel, y, x); red, green, blue.
    labels : int64 (image,), indices into ``classes``.
    classes : the names of the classes.
    source : one line: what the images are, and what is to be known before they are used.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    source: str


def read_labeled_images(
    path: Path, *, size_px: int | None = None
) -> tuple[LabeledImages, LabeledImages]:
    """The images to train on, and those to test on.

    What ``path`` is follows from its content. Understood are the official files of CIFAR-10 and
    CIFAR-100 (fine labels), binary and python version, as their folder or their ``.tar.gz``; the
    JPEG copy of CIFAR-10; and folders of class folders, whose classes are sorted by name. Of
    ``CLASS/IMAGE`` without a test, a fifth of each class is held out, the same on every run.
    Images come in the order of their files, often class by class: shuffle them. Photographs are
    taken as stored, EXIF orientation not applied.

    Parameters
    ----------
    size_px : side of the square to which each image is brought: its central square, resized
        (bilinear, antialiased). By default images stay as they are, and must have one size.

    Raises
    ------
    FileNotFoundError : if there is no such path, or one of the official files is missing.
    ValueError : if the content is none of the above, damaged, or not of one piece: an image that
        cannot be read or has another size, a class without images, a label without a class.
    """
    if size_px is not None and size_px < 1:
        raise ValueError(f"size_px={size_px} (--size-px) is below 1")
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; give {UNDERSTOOD}")
    source = next((found for known in SOURCES if (found := known(path))), None)
    if source is None:
        raise ValueError(f"{path} is none of the labeled images understood: {UNDERSTOOD}")
    resized = "" if size_px is None else f"; central squares resized to {size_px} px"
    about = source.about + resized
    train = _read(source.train, size_px)
    test = _read(source.test, size_px, train.shape[1:])
    return (
        LabeledImages(train, source.train.labels, source.classes, about),
        LabeledImages(test, source.test.labels, source.classes, about),
    )


def _read(
    unread: UnreadImages, size_px: int | None, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Images (image, 3, y, x), all of one shape: that of a size, the one given, or the first's."""
    names = unread.names
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if size_px is not None:
            shape = (3, size_px, size_px)
        elif shape is None:
            shape = unread.read(0).shape
        needed = len(names) * math.prod(shape)
        if needed > LARGEST_IMAGES:
            raise ValueError(
                f"{len(names)} images of {shape[2]} x {shape[1]} pixels take {needed} bytes of "
                f"memory, above {LARGEST_IMAGES}; take a smaller size_px (--size-px), or fewer "
                "images"
            )
        images = np.empty((len(names), *shape), np.uint8)

        def fill(start: int) -> None:
            for index in range(start, min(start + PER_TASK, len(names))):
                image = _fitted(unread.read(index), size_px)
                if image.shape != shape:
                    raise ValueError(
                        f"{names[index]} has {image.shape[2]} x {image.shape[1]} pixels, the "
                        f"images before it {shape[2]} x {shape[1]}; give a size_px (--size-px) "
                        "for all"
                    )
                images[index] = image

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside of Python's lock
            for _ in pool.map(fill, range(0, len(names), PER_TASK)):
                pass  # which raises what a thread raised, the first image's first
    return images


def _fitted(pixels: np.ndarray, size_px: int | None) -> np.ndarray:
    """Uint8 (3, y, x); of the image's central square, resized, where a size is given."""
    if size_px is None or pixels.shape == (3, size_px, size_px):
        return pixels
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    fitted = ImageOps.fit(image, (size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(fitted).transpose(2, 0, 1)
