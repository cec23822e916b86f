"""Noise to map receptive fields with: checks of random polarity, and one spot at a time.

Checks are squares placed from the origin. A pixel shows the check that its centre is in; where an
edge runs through the centre, the check to the right of it or above it. A check is at least as large
as a pixel, so every one within the field is seen; where its size is no whole number of pixels,
some checks have a row or a column more than others.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.visual_field import VisualField

LARGEST_SEED = 2**53  # the last whole number that a table of float64 tells from its neighbours
MOST_CHECKS = 4096  # on a side, all of which are drawn; beyond any image
ON_THE_EDGE = 1e-6  # in checks: far above what rounding does to a position, far below a pixel


def white_noise(
    field: VisualField,
    *,
    seed: ArrayLike,
    check_size: ArrayLike,
    diameter: ArrayLike,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Binary white noise: a square of checks, each light or dark with even odds.

    A check has the luminance mean_luminance (1 + contrast) or mean_luminance (1 - contrast), by
    the bits of the Philox generator whose key is the seed: row by row from the lower left, 1 for
    light. A seed is one pattern on every machine, device and field. Around the square the field is
    grey.

    Parameters
    ----------
    field : where the pixels lie.
    seed : of the pattern, a whole number from 0 to 2^53.
    check_size : side of a check, degrees; at least a pixel.
    diameter : side of the square, whose middle is the origin, in degrees: a whole number of
        checks. What of it lies beyond the field is not seen.
    contrast : Michelson, 0 to 1.
    mean_luminance : 0 to 1, and low enough for a light check not to exceed 1.
    device : where to draw.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 luminances in [0, 1], (stimulus, 1, y, x).

    Raises
    ------
    ValueError : for a parameter out of its range.

    References
    ----------
    Salmon, Moraes, Dror & Shaw (2011), SC '11, for the generator.
    """
    check_white_noise(
        field,
        seed=seed,
        check_size=check_size,
        diameter=diameter,
        contrast=contrast,
        mean_luminance=mean_luminance,
    )
    seed, size, diameter, contrast, mean = _vectors(
        seed, check_size, diameter, contrast, mean_luminance
    )
    count = np.rint(diameter / size).astype(int)
    rows = _checks(field.y, 0.0, size, count)
    columns = _checks(field.x, 0.0, size, count)
    polarity = np.zeros((seed.size, count.max() + 1, count.max() + 1), np.int8)
    for pattern, key, n in zip(polarity, seed, count, strict=True):
        pattern[:n, :n] = _coin_tosses(int(key), n * n).reshape(n, n)
    return _draw(polarity, rows, columns, contrast, mean, device)


def sparse_noise(
    field: VisualField,
    *,
    x: ArrayLike,
    y: ArrayLike,
    check_size: ArrayLike,
    polarity: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Sparse noise: one square spot, light or dark, on a grey field.

    Its luminance is mean_luminance (1 + polarity contrast). Nothing about it is random; it is
    called noise since spots at all places are shown in a random order to cells that remember.

    Parameters
    ----------
    x, y : where the middle of the spot is, degrees to the right of the origin and above it.
    check_size : side of the spot, degrees; at least a pixel.
    polarity : 1 for a light spot, -1 for a dark one.
    contrast : Weber, 0 to 1.
    mean_luminance : of the field, 0 to 1, and low enough for a light spot not to exceed 1.

    The others, the result and what is refused are those of :func:`white_noise`.

    References
    ----------
    Jones & Palmer (1987), Journal of Neurophysiology 58:1187.
    DeAngelis, Ohzawa & Freeman (1993), Journal of Neurophysiology 69:1091.
    """
    check_sparse_noise(
        field,
        x=x,
        y=y,
        check_size=check_size,
        polarity=polarity,
        contrast=contrast,
        mean_luminance=mean_luminance,
    )
    x, y, size, sign, contrast, mean = _vectors(
        x, y, check_size, polarity, contrast, mean_luminance
    )
    spot = np.zeros((sign.size, 2, 2), np.int8)
    spot[:, 0, 0] = sign
    rows, columns = _checks(field.y, y, size, 1), _checks(field.x, x, size, 1)
    return _draw(spot, rows, columns, contrast, mean, device)


def check_white_noise(
    field: VisualField,
    *,
    seed: ArrayLike,
    check_size: ArrayLike,
    diameter: ArrayLike,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
) -> None:
    """Refuse, with a ValueError, white noise that the field cannot show as asked."""
    seed, size, diameter, contrast, mean = _vectors(
        seed, check_size, diameter, contrast, mean_luminance
    )
    if (bad := ~((seed >= 0) & (seed <= LARGEST_SEED) & (seed == np.floor(seed)))).any():
        raise ValueError(f"seed={_first(seed, bad)} is not a whole number from 0 to 2^53")
    _check_size(field, size)
    checks = np.where(np.isfinite(diameter), diameter / size, 0)
    if (bad := ~((checks > 0.5) & (abs(checks - np.rint(checks)) <= ON_THE_EDGE))).any():
        fitting = max(np.rint(checks[bad][0]), 1) * size[bad][0]
        raise ValueError(
            f"diameter={_first(diameter, bad)} is not a whole number of checks of "
            f"{size[bad][0]:g} degrees; use {fitting:g}, say"
        )
    if (bad := checks > MOST_CHECKS + 0.5).any():
        raise ValueError(
            f"diameter={_first(diameter, bad)} has {checks[bad][0]:.0f} checks of "
            f"{size[bad][0]:g} degrees on a side; use at most {MOST_CHECKS}"
        )
    _check_luminance(contrast, mean, np.ones_like(mean))


def check_sparse_noise(
    field: VisualField,
    *,
    x: ArrayLike,
    y: ArrayLike,
    check_size: ArrayLike,
    polarity: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
) -> None:
    """Refuse, with a ValueError, sparse noise that the field cannot show as asked."""
    x, y, size, sign, contrast, mean = _vectors(
        x, y, check_size, polarity, contrast, mean_luminance
    )
    for name, value in [("x", x), ("y", y)]:
        if (bad := ~np.isfinite(value)).any():
            raise ValueError(f"{name}={_first(value, bad)} is not a number")
    _check_size(field, size)
    if (bad := abs(sign) != 1).any():
        raise ValueError(f"polarity={_first(sign, bad)} is neither 1, light, nor -1, dark")
    _check_luminance(contrast, mean, sign)


def white_noise_pixels(
    field: VisualField, *, check_size: ArrayLike, diameter: ArrayLike, **others: ArrayLike
) -> np.ndarray:
    """How many of the field's pixels are in the check of each pixel: (stimulus, y, x).

    0 where there is no check.
    """
    size, diameter, *_ = _vectors(check_size, diameter, *others.values())
    count = np.rint(diameter / size).astype(int)
    return _together(_checks(field.y, 0.0, size, count), _checks(field.x, 0.0, size, count))


def sparse_noise_pixels(
    field: VisualField,
    *,
    x: ArrayLike,
    y: ArrayLike,
    check_size: ArrayLike,
    **others: ArrayLike,
) -> np.ndarray:
    """How many of the field's pixels are in the spot that a pixel is in: (stimulus, y, x).

    0 beside the spot.
    """
    x, y, size, *_ = _vectors(x, y, check_size, *others.values())
    return _together(_checks(field.y, y, size, 1), _checks(field.x, x, size, 1))


def _checks(
    position: np.ndarray, center: np.ndarray | float, size: np.ndarray, count: np.ndarray | int
) -> np.ndarray:
    """Which of ``count`` checks around a centre each position is in, -1 for none: (stimulus, n)."""
    first_edge = np.asarray(center - count * size / 2)[:, None]
    index = np.floor((position - first_edge) / size[:, None] + ON_THE_EDGE).astype(int)
    return np.where((index >= 0) & (index < np.asarray(count)[..., None]), index, -1)


def _coin_tosses(key: int, count: int) -> np.ndarray:
    """1 or -1, from the raw bits of Philox: these are what no version of numpy may change."""
    words = np.random.Philox(key=key).random_raw(-(-count // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=count, bitorder="little")
    return 2 * bits.astype(np.int8) - 1


def _draw(
    polarity: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    contrast: np.ndarray,
    mean: np.ndarray,
    device: torch.device | str,
) -> Tensor:
    """Checks (stimulus, row, column), of which the last row and column are grey, as images."""
    stimulus = np.arange(len(polarity))[:, None, None]
    shown = polarity[stimulus, rows[:, :, None], columns[:, None, :]]  # (stimulus, y, x)
    amplitude, grey = (
        torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]
        for values in (mean * contrast, mean)
    )
    images = torch.from_numpy(shown).to(device).float().mul_(amplitude).add_(grey)
    return images[:, None].clamp_(0, 1)  # only what rounding leaves beyond 0 or 1


def _together(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    high, wide = (
        ((index[:, :, None] == index[:, None, :]).sum(-1) * (index >= 0))
        for index in (rows, columns)
    )
    return high[:, :, None] * wide[:, None, :]


def _check_size(field: VisualField, size: np.ndarray) -> None:
    pixel = 1 / field.pixels_per_degree
    if (bad := ~((size >= pixel * (1 - ON_THE_EDGE)) & np.isfinite(size))).any():
        raise ValueError(
            f"check_size={_first(size, bad)} is not a size from a pixel upward, of {pixel:g} "
            "degrees here; use larger checks, or a finer field"
        )


def _check_luminance(contrast: np.ndarray, mean: np.ndarray, polarity: np.ndarray) -> None:
    if (bad := ~((contrast >= 0) & (contrast <= 1))).any():
        raise ValueError(f"contrast={_first(contrast, bad)} is outside 0 to 1")
    brightest = 1 + np.maximum(polarity, 0) * contrast  # in mean luminances
    if (bad := ~((mean >= 0) & (mean * brightest <= 1 + 1e-12))).any():
        raise ValueError(
            f"mean_luminance={_first(mean, bad)} is outside 0 to {1 / brightest[bad][0]:g}, where "
            f"luminances at contrast={contrast[bad][0]:g} stay within 0 to 1"
        )


def _vectors(*parameters: ArrayLike) -> tuple[np.ndarray, ...]:
    """Parameters with one number per stimulus, float64."""
    return np.broadcast_arrays(*(np.atleast_1d(np.asarray(p, float)) for p in parameters))


def _first(values: np.ndarray, bad: np.ndarray) -> float:
    return float(values[bad][0])
