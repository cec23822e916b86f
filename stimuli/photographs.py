"""Crops of color photographs, pixel by pixel.

A crop is as large as the screen, a pixel of the photograph for each of the screen's, and never
interpolated. The photograph's pixel (row, column) shows where the centre of the stimulus is: at the
pixel of the screen whose centre is nearest; of two at the same distance the upper one, and the one
on the right. So around the middle of a screen of an even size, the pixel shows above and to the
right of it. Moved by the origin or by x and y, a crop moves by whole pixels, as this says, and
beyond its edges is the background.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ephys.data_folders import data_folder, photograph_files, split_folder
from ephys.stimuli.colors import LUMINANCE_WEIGHTS, decode_srgb
from ephys.stimuli.parameters import vectors
from ephys.visual_field import VisualField

LIGHT = decode_srgb(np.arange(256) / 255)  # of a pixel of 8 bits
ON_THE_EDGE = 1e-6  # in pixels: what counts as the same distance
ROUNDING = 1e-9  # of light
TRIES = 200  # crops of a photograph, until one can be matched


def photograph(
    field: VisualField,
    *,
    file: ArrayLike,
    file_row: ArrayLike,
    file_column: ArrayLike,
    luminance: ArrayLike = np.nan,
    rms_contrast: ArrayLike = np.nan,
    mean_luminance: ArrayLike = 0.5,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""Crops of photographs, as they are or matched in mean luminance and contrast.

    With p the linear rgb of a pixel of the crop, :math:`\bar p` its mean over the whole crop, and
    M and S the mean and the standard deviation of the crop's luminance, what is shown is

    .. math:: \frac{L}{M} \left(\bar p + \frac{C}{S / M} (p - \bar p)\right),

    of mean luminance L and r.m.s. contrast C. Scaling to a luminance keeps the chromaticity and the
    contrast of every pixel; scaling to a contrast moves colors along the line to the mean color of
    the crop, which stays. Where L or C is not asked for it is M or S / M.

    Parameters
    ----------
    field : where the pixels lie.
    file : of the photograph, in sRGB of 8 bits per color or of grey: a path, or one below the
        folder that the environment variable EPHYS_DATA names.
    file_row, file_column : of its pixel that is at the centre, counted from 0 at the upper left.
    luminance : L, from 0 to 1; NaN for that of the crop.
    rms_contrast : C, the standard deviation of the luminance over its mean; NaN for that of the
        crop.
    mean_luminance : of the background, 0 to 1.
    x, y : centre, degrees to the right of the origin and above it.
    device : where to draw.

    Each parameter is one for all, or a vector with one per stimulus.

    Returns
    -------
    float32 differences from the background in linear rgb, (stimulus, 3, y, x).

    Raises
    ------
    FileNotFoundError, ValueError : for a photograph that is not there, or is none.
    """
    files, (rows, columns, light, contrast, grey, x, y) = _stimuli(
        file, file_row, file_column, luminance, rms_contrast, mean_luminance, x, y
    )
    size = field.screen_height_px, field.screen_width_px
    pixels = np.zeros((len(files), field.height_px, field.width_px, 3), np.uint8)
    shown = np.zeros((len(files), field.height_px, field.width_px), bool)
    scale, offset = np.empty((len(files), 3)), np.empty((len(files), 3))
    for i, name in enumerate(files):
        crop = _Crop.of(name, int(rows[i]), int(columns[i]), size)
        down, right = np.ix_(*_places(field, x[i], y[i]))
        shown[i] = (down >= 0) & (down < size[0]) & (right >= 0) & (right < size[1])
        pixels[i] = crop.pixels[down.clip(0, size[0] - 1), right.clip(0, size[1] - 1)]
        brighter, farther = _factors(crop, light[i], contrast[i])
        scale[i] = brighter * farther
        offset[i] = brighter * (1 - farther) * crop.mean - grey[i]
    table = torch.from_numpy(LIGHT.astype(np.float32)).to(device)
    images = table[torch.from_numpy(pixels).to(device).int()]  # (stimulus, y, x, 3)
    a, b = (
        torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]
        for values in (scale, offset)
    )
    images = images.mul_(a).add_(b).mul_(torch.from_numpy(shown).to(device)[..., None])
    return images.permute(0, 3, 1, 2).contiguous()


def check_photograph(
    field: VisualField,
    *,
    file: ArrayLike,
    file_row: ArrayLike,
    file_column: ArrayLike,
    luminance: ArrayLike = np.nan,
    rms_contrast: ArrayLike = np.nan,
    mean_luminance: ArrayLike = 0.5,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
) -> None:
    """Refuse, with a ValueError, crops that are not within their photograph, or not within what a
    display shows once they are matched; with a FileNotFoundError, photographs that are not there.
    """
    files, (rows, columns, light, contrast, *_) = _stimuli(
        file, file_row, file_column, luminance, rms_contrast, mean_luminance, x, y
    )
    size = field.screen_height_px, field.screen_width_px
    for i, name in enumerate(files):
        for axis, at, first, own, whole in zip(
            *(("row", "column"), (rows[i], columns[i]), _before(size), size),
            _photograph_of(name).shape[:2],
            strict=True,
        ):
            if own > whole:
                raise ValueError(
                    f"{name} has {whole} {axis}s of pixels and the screen {own}; use a larger "
                    "photograph or a smaller screen"
                )
            if not (first <= at <= whole - own + first and at == int(at)):
                raise ValueError(
                    f"file_{axis}={at:g} of {name}, which has {whole}, leaves no crop of {own} "
                    f"pixels around it; use a whole number from {first} to {whole - own + first}"
                )
        _check_light(_Crop.of(name, int(rows[i]), int(columns[i]), size), light[i], contrast[i])


def range_photograph(
    *, mean_luminance: ArrayLike = 0.5, **others: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest difference from the background: those of black and of white."""
    (grey,) = vectors(mean_luminance)
    return -grey, 1 - grey


def random_crops(
    folder: str,
    field: VisualField,
    *,
    split: str = "test",
    per_photograph: int = 1,
    luminance: float = np.nan,
    rms_contrast: float = np.nan,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Crops at random places of all photographs of a folder: what :func:`photograph` takes.

    All places at which the screen is within the photograph, and the crop can be matched as asked,
    are as likely. A seed gives the same crops with every version of numpy.

    Parameters
    ----------
    folder : of BSDS500: a path, or a path below the folder that EPHYS_DATA names.
    field : on whose screen the crops are to be shown.
    split : which photographs of it, ``"train"``, ``"val"`` or ``"test"``.
    per_photograph : how many crops of each.
    luminance, rms_contrast : what the crops are to be matched in; NaN for nothing.
    seed : a whole number from 0.

    Returns
    -------
    ``file``, ``file_row`` and ``file_column`` of each crop, photograph by photograph in the order
    of names. Files are said as ``folder`` is.

    Raises
    ------
    FileNotFoundError, ValueError : for a folder that is not there or holds no photograph, and for a
        photograph that is smaller than the screen, or of which no crop was found that can be
        matched.
    """
    root = _found(folder)
    paths = photograph_files(split_folder(root, split))
    files = [str(Path(folder) / path.relative_to(root)) for path in paths]
    size = field.screen_height_px, field.screen_width_px
    places = []
    for number, file in enumerate(files):
        room, words = _room(file, size), np.random.Philox(key=seed | number << 64)
        for _ in range(per_photograph):
            places.append(_random_place(file, room, size, words, luminance, rms_contrast))
    rows, columns = np.array(places, float).T
    return {"file": np.repeat(files, per_photograph), "file_row": rows, "file_column": columns}


class _Crop(NamedTuple):
    """What is shown of a photograph, and what of it the formula needs."""

    name: str
    pixels: np.ndarray  # uint8 (row, column, 3)
    mean: np.ndarray  # rgb
    lowest: np.ndarray  # rgb, each of its own pixel
    highest: np.ndarray
    luminance: float
    sd: float

    @staticmethod
    def of(name: str, row: int, column: int, size: tuple[int, int]) -> "_Crop":
        path = _found(name)
        return _crop(name, path, _version(name, path), row, column, size)

    @property
    def contrast(self) -> float:
        return self.sd / self.luminance


@lru_cache(maxsize=256)
def _crop(
    name: str,
    path: Path,
    version: tuple[int, int],
    row: int,
    column: int,
    size: tuple[int, int],
) -> _Crop:
    top, left = row - _before(size)[0], column - _before(size)[1]
    pixels = _decoded(name, path, version)[top : top + size[0], left : left + size[1]].copy()
    if pixels.shape[:2] != size:
        raise ValueError(f"{name} has no {size} pixels around row={row}, column={column}")
    light = LIGHT[pixels].reshape(-1, 3)
    luminance = light @ LUMINANCE_WEIGHTS
    extremes = light.min(0), light.max(0)
    return _Crop(name, pixels, light.mean(0), *extremes, luminance.mean(), luminance.std())


@lru_cache(maxsize=8)
def _decoded(name: str, path: Path, version: tuple[int, int]) -> np.ndarray:
    """The pixels of a photograph: uint8 (row, column, 3)."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "L"):
                raise ValueError(
                    f"{name} has pixels of mode {image.mode}, neither RGB nor grey (L) of 8 bits; "
                    "convert it"
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name} cannot be read as a photograph; remove or replace it") from error


def _photograph_of(name: str) -> np.ndarray:
    path = _found(name)
    return _decoded(name, path, _version(name, path))


def _version(name: str, path: Path) -> tuple[int, int]:
    """Tells a file from one that has taken its place."""
    try:
        about = path.stat()
    except OSError as error:
        raise FileNotFoundError(f"no photograph {name}; there is no file {path}") from error
    return about.st_mtime_ns, about.st_size


def _found(name: str) -> Path:
    path = Path(name)
    return path if path.is_absolute() else data_folder(name)


def _room(name: str, size: tuple[int, int]) -> np.ndarray:
    """How many rows and columns a crop's corner can be at."""
    try:
        with Image.open(_found(name)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name} cannot be read as a photograph; remove or replace it") from error
    if height < size[0] or width < size[1]:
        raise ValueError(
            f"{name} has {width} x {height} pixels, fewer than the screen's {size[1]} x {size[0]}; "
            "use larger photographs or a smaller screen"
        )
    return np.array([height - size[0] + 1, width - size[1] + 1])


def _random_place(
    name: str,
    room: np.ndarray,
    size: tuple[int, int],
    words: np.random.Philox,
    luminance: float,
    contrast: float,
) -> tuple[int, int]:
    """A row and a column whose crop can be matched."""
    for _ in range(TRIES):
        uniform = (words.random_raw(2) >> np.uint64(11)) / 2.0**53
        row, column = (int(at) for at in np.floor(uniform * room) + _before(size))
        if np.isnan(luminance) and np.isnan(contrast):
            return row, column
        try:
            _check_light(_Crop.of(name, row, column, size), luminance, contrast)
        except ValueError:
            continue
        return row, column
    raise ValueError(
        f"of {TRIES} crops of {name} none can have luminance={luminance:g} and "
        f"rms_contrast={contrast:g}; use less of them, or other photographs"
    )


def _before(size: tuple[int, int]) -> tuple[int, int]:
    """How many of a crop's rows and columns are before those of its centre."""
    return (size[0] - 1) // 2, size[1] // 2


def _places(field: VisualField, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Which row and which column of the crop the field's pixels show, wherever these would be."""
    height, width = size = field.screen_height_px, field.screen_width_px
    # Of the screen: where the centre of the stimulus is, and the field's first row and column.
    below = (height - 1) / 2 - (field.origin_y + y) * field.pixels_per_degree
    beside = (width - 1) / 2 + (field.origin_x + x) * field.pixels_per_degree
    center_row = int(np.ceil(below - 0.5 - ON_THE_EDGE))
    center_column = int(np.floor(beside + 0.5 + ON_THE_EDGE))
    first_row = round((height - field.height_px) / 2 - field.up_px)
    first_column = round((width - field.width_px) / 2 + field.right_px)
    rows = np.arange(field.height_px) + first_row - center_row + _before(size)[0]
    columns = np.arange(field.width_px) + first_column - center_column + _before(size)[1]
    return rows, columns


def _factors(crop: _Crop, luminance: float, contrast: float) -> tuple[float, float]:
    """By how much a crop is made brighter, and its pixels are moved from their mean."""
    brighter = 1.0 if np.isnan(luminance) else luminance / crop.luminance
    farther = 1.0 if np.isnan(contrast) else contrast / crop.contrast
    return brighter, farther


def _check_light(crop: _Crop, luminance: float, contrast: float) -> None:
    if crop.luminance == 0 and not (np.isnan(luminance) and np.isnan(contrast)):
        raise ValueError(f"this crop of {crop.name} is black and cannot be matched; use another")
    if crop.sd == 0 and not np.isnan(contrast):
        raise ValueError(f"this crop of {crop.name} has no contrast to be scaled; use another")
    brighter, farther = _factors(crop, luminance, contrast)
    lowest, highest = (
        crop.mean + farther * (extreme - crop.mean) for extreme in (crop.lowest, crop.highest)
    )
    if brighter * highest.max() <= 1 + ROUNDING and lowest.min() >= -ROUNDING:
        return
    if np.isnan(contrast) or brighter * crop.mean.max() > 1:  # at no contrast either
        _refuse(f"luminance={luminance:g}", crop, crop.luminance / highest.max())
    with np.errstate(divide="ignore", invalid="ignore"):  # colors that are the same everywhere
        upward = (1 / brighter - crop.mean) / (crop.highest - crop.mean)
        downward = crop.mean / (crop.mean - crop.lowest)
    farthest = np.nanmin([upward, downward])
    _refuse(f"rms_contrast={contrast:g}", crop, farthest * crop.contrast)


def _refuse(what: str, crop: _Crop, largest: float) -> NoReturn:
    fits = np.floor(1e4 * largest) / 1e4  # rounded so that it does fit
    raise ValueError(
        f"{what} takes pixels of this crop of {crop.name} beyond what a display shows; use at most "
        f"{fits:g}, or another crop"
    )


def _stimuli(file: ArrayLike, *numbers: ArrayLike) -> tuple[list[str], list[np.ndarray]]:
    """One file and one of each number per stimulus."""
    files = np.atleast_1d(np.asarray(file, str))
    index, *columns = vectors(np.arange(files.size), *numbers)
    return [str(name) for name in files[index.astype(int)]], columns
