"""Photographs to train on: luminance images of a folder, and random crops of them."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ephys.data_folders import photograph_files


def photographs(folder: Path, *, smallest_px: int = 1) -> list[np.ndarray]:
    """Luminance (PIL mode L) of every photograph in a folder, by name: uint8 (height, width).

    Raises
    ------
    ValueError : if there is none, one cannot be read, or a side is below ``smallest_px``.
    """
    return [_photograph(path, smallest_px) for path in photograph_files(folder)]


def random_crops(
    images: list[np.ndarray], count: int, size_px: int, rng: np.random.Generator
) -> np.ndarray:
    """Square crops, each of a random photograph, place and symmetry: float32 (count, 1, y, x).

    The eight symmetries of the square stand for the rotated and mirrored copies that the authors
    trained on, and leave no orientation of the Gabor bank preferred. Values are in [0, 1].
    """
    crops = np.empty((count, 1, size_px, size_px), np.float32)
    for crop in crops:
        image = images[rng.integers(len(images))]
        top, left = (rng.integers(side - size_px + 1) for side in image.shape)
        patch = image[top : top + size_px, left : left + size_px]
        patch = np.rot90(patch, int(rng.integers(4)))
        crop[0] = patch.T if rng.integers(2) else patch
    return crops / np.float32(255)


def _photograph(path: Path, smallest_px: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a photograph; remove or replace it") from error
    if min(pixels.shape) < smallest_px:
        height, width = pixels.shape
        raise ValueError(
            f"{path} has {width} x {height} pixels, smaller than the crop of {smallest_px}; "
            "remove it or take smaller crops"
        )
    return pixels
