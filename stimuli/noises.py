"""Noise: checks of random polarity, one spot at a time, and waves of a band of frequencies.

Checks and spots are squares placed from the stimulus's centre. A pixel shows the check that its
centre is in; where an edge runs through the centre, the check to the right of it or above it. A
check is at least as large as a pixel, so every one within the field is seen; where its size is no
whole number of pixels, some checks have a row or a column more than others.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.fft import irfft2
from torch import Tensor

from ephys.stimuli.parameters import vectors
from ephys.stimuli.patches import require_a_pixel, require_polarity
from ephys.visual_field import VisualField

LARGEST_SEED = 2**53  # the last whole number that a table of float64 tells from its neighbours
MOST_CHECKS = 4096  # on a side, all of which are drawn; beyond any image
MOST_CYCLES = 512  # per period, all of which are drawn; those of an image of 1024 pixels
FEWEST_WAVES = 8  # below which filtered noise is a plaid
PATTERNS_AT_ONCE = 16  # at most some 100 MB of waves
SAMPLES_PER_CYCLE = 12  # of the highest frequency, where peaks are looked for
ON_THE_EDGE = 1e-6  # in checks: far above what rounding does to a position, far below a pixel


def white_noise(
    field: VisualField,
    *,
    seed: ArrayLike,
    check_size: ArrayLike,
    side: ArrayLike,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Binary white noise: a square of checks, each light or dark with even odds.

    The modulation of a check is contrast or -contrast, by the bits of the Philox generator whose
    key is the seed: row by row from the lower left, 1 for light. A seed is one pattern on every
    machine, device and field. Around the square it is 0.

    Parameters
    ----------
    field : where the pixels lie.
    seed : of the pattern, a whole number from 0 to 2^53.
    check_size : side of a check, degrees; at least a pixel.
    side : of the square, degrees: a whole number of checks. What of it lies beyond the field is
        not seen.
    contrast : Michelson, 0 to 1.
    x, y : the middle of the square, degrees to the right of the origin and above it.
    device : where to draw.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 modulations of the background, (stimulus, y, x).

    References
    ----------
    Salmon, Moraes, Dror & Shaw (2011), SC '11, for the generator.
    """
    seed, size, side, contrast, x, y = vectors(seed, check_size, side, contrast, x, y)
    count = np.rint(side / size).astype(int)
    rows, columns = _checks(field.y, y, size, count), _checks(field.x, x, size, count)
    polarity = np.zeros((seed.size, count.max() + 1, count.max() + 1), np.int8)
    for pattern, key, n in zip(polarity, seed, count, strict=True):
        pattern[:n, :n] = _coin_tosses(int(key), n * n).reshape(n, n)
    return _draw(polarity, rows, columns, contrast, device)


def sparse_noise(
    field: VisualField,
    *,
    check_size: ArrayLike,
    polarity: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Sparse noise: one square spot, light or dark.

    Its modulation is polarity contrast. Nothing about it is random; it is called noise since spots
    at all places are shown in a random order to cells that remember.

    Parameters
    ----------
    check_size : side of the spot, degrees; at least a pixel.
    polarity : 1 for a light spot, -1 for a dark one.
    contrast : Weber, 0 to 1.
    x, y : the middle of the spot, degrees to the right of the origin and above it.

    The others and the result are those of :func:`white_noise`.

    References
    ----------
    Jones & Palmer (1987), Journal of Neurophysiology 58:1187.
    DeAngelis, Ohzawa & Freeman (1993), Journal of Neurophysiology 69:1091.
    """
    size, sign, contrast, x, y = vectors(check_size, polarity, contrast, x, y)
    spot = np.zeros((sign.size, 2, 2), np.int8)
    spot[:, 0, 0] = sign
    rows, columns = _checks(field.y, y, size, 1), _checks(field.x, x, size, 1)
    return _draw(spot, rows, columns, contrast, device)


def filtered_noise(
    field: VisualField,
    *,
    seed: ArrayLike,
    low_frequency: ArrayLike,
    high_frequency: ArrayLike,
    period: ArrayLike,
    rms_contrast: ArrayLike,
    spectral_slope: ArrayLike = 0.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Gaussian noise whose amplitudes fall as frequency^-spectral_slope in a band, 0 beyond it.

    A slope of 0 is white noise in a band, 1 the noise of natural images. The modulation is

        m(x, y) = Re sum_jk c_jk exp(2 pi i (j x + k y) / period)

    over whole numbers j and k of which sqrt(j^2 + k^2) / period lies in the band, one of each pair
    (j, k) and (-j, -k). The c_jk are complex Gaussian numbers times that frequency to the power of
    -spectral_slope, scaled for the r.m.s. of m over the period to be rms_contrast exactly. So noise
    is a function of the position alone, holds no frequency outside the band, and comes again after
    a period, which lies beyond the screen. A seed gives each (j, k) one Gaussian number: noise of
    one seed and period in two bands shares the waves that are in both.

    Parameters
    ----------
    field : where the pixels lie.
    seed : of the pattern, a whole number from 0 to 2^53.
    low_frequency, high_frequency : the ends of the band, both of which are in it, cycles per
        degree; the upper one below the field's Nyquist limit.
    period : degrees after which the noise repeats; at least the screen's height and width.
    rms_contrast : standard deviation of the luminance over the mean luminance, over a period.
    spectral_slope : 0 for amplitudes that are as large at all frequencies of the band.
    x, y : what the pattern is placed from, degrees to the right of the origin and above it.
    device : where to draw.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 modulations of the background, (stimulus, y, x). A crop of the field has those of the
    whole but for the rounding of the last bit, since sums are matrix products.

    References
    ----------
    Field (1987), Journal of the Optical Society of America A 4:2379, for the slope of 1.
    """
    parameters = vectors(
        seed, low_frequency, high_frequency, period, rms_contrast, spectral_slope, x, y
    )
    # MPS knows no float64, which the phases of many cycles need.
    at = "cpu" if torch.device(device).type == "mps" else device
    images = torch.empty(parameters[0].size, field.height_px, field.width_px, device=device)
    for start in range(0, len(images), PATTERNS_AT_ONCE):
        some = slice(start, start + PATTERNS_AT_ONCE)
        key, low, high, length, rms, slope, x0, y0 = (values[some] for values in parameters)
        waves = _waves(key, low * length, high * length, slope, rms)  # (stimulus, k, j)
        cycles = waves.shape[1] - 1
        along_x = _basis((field.x - x0[:, None]) / length[:, None], -cycles, cycles)
        along_y = _basis((field.y - y0[:, None]) / length[:, None], 0, cycles)
        coefficients, rows, columns = (
            torch.from_numpy(values).to(at) for values in (waves, along_y, along_x)
        )
        images[some] = (rows @ (coefficients @ columns.transpose(1, 2))).real
    return images


def check_white_noise(
    field: VisualField,
    *,
    seed: ArrayLike,
    check_size: ArrayLike,
    side: ArrayLike,
    **others: ArrayLike,
) -> None:
    """Refuse, with a ValueError, white noise that the field cannot show as asked."""
    seed, size, side, *_ = vectors(seed, check_size, side)
    _require_seed(seed)
    require_a_pixel(field, check_size=size)
    checks = side / size
    if (bad := ~((checks > 0.5) & (abs(checks - np.rint(checks)) <= ON_THE_EDGE))).any():
        fitting = max(np.rint(checks[bad][0]), 1) * size[bad][0]
        raise ValueError(
            f"side={side[bad][0]} is not a whole number of checks of "
            f"{size[bad][0]:g} degrees; use {fitting:g}, say"
        )
    if (bad := checks > MOST_CHECKS + 0.5).any():
        raise ValueError(
            f"side={side[bad][0]} has {checks[bad][0]:.0f} checks of "
            f"{size[bad][0]:g} degrees; use at most {MOST_CHECKS}"
        )


def check_sparse_noise(
    field: VisualField,
    *,
    check_size: ArrayLike,
    polarity: ArrayLike = 1.0,
    **others: ArrayLike,
) -> None:
    """Refuse, with a ValueError, sparse noise that the field cannot show as asked."""
    require_a_pixel(field, check_size=check_size)
    require_polarity(polarity)


def check_filtered_noise(
    field: VisualField,
    *,
    seed: ArrayLike,
    low_frequency: ArrayLike,
    high_frequency: ArrayLike,
    period: ArrayLike,
    rms_contrast: ArrayLike,
    spectral_slope: ArrayLike = 0.0,
    **others: ArrayLike,
) -> None:
    """Refuse, with a ValueError, filtered noise that the field cannot show as asked.

    Gaussian noise has no bounds, so it is looked at whether the modulation of each pattern stays
    within -1 and 1 everywhere: wherever it is then moved, it can be shown. For everywhere to be
    certain, patterns are refused from 0.93 on.
    """
    seed, low, high, period, rms, slope = vectors(
        seed, low_frequency, high_frequency, period, rms_contrast, spectral_slope
    )
    _require_seed(seed)
    if (bad := low > high).any():
        raise ValueError(
            f"low_frequency={low[bad][0]} is above high_frequency={high[bad][0]}; "
            "the band goes from the one to the other"
        )
    if (bad := high >= field.nyquist).any():
        raise ValueError(
            f"high_frequency={high[bad].max()} is not below the Nyquist limit of "
            f"{field.nyquist:g} cycles/degree; use a lower one, or a finer field"
        )
    extent = max(field.screen_height_px, field.screen_width_px) / field.pixels_per_degree
    if (bad := period < extent * (1 - ON_THE_EDGE)).any():
        raise ValueError(
            f"period={period[bad][0]} is smaller than the screen, on which the noise would repeat; "
            f"use at least {extent:g} degrees"
        )
    if (bad := high * period > MOST_CYCLES).any():
        raise ValueError(
            f"period={period[bad][0]} holds {high[bad][0] * period[bad][0]:g} cycles of "
            f"high_frequency={high[bad][0]}; use a period of at most "
            f"{MOST_CYCLES / high[bad][0]:g} degrees"
        )
    for start, end, length in np.unique(np.stack([low, high, period], 1), axis=0):
        waves = int(_in_band(start * length, end * length).sum())
        if waves < FEWEST_WAVES:
            raise ValueError(
                f"low_frequency={start} to high_frequency={end} holds {waves} waves of "
                f"period={length}; use a wider band or a longer period, for at least "
                f"{FEWEST_WAVES}"
            )
    peak = rms * _peaks(seed, low * period, high * period, slope)
    if (bad := peak > 1).any():
        fits = np.floor(1e4 * rms[bad][0] / peak[bad][0]) / 1e4  # rounded so that it does fit
        raise ValueError(
            f"rms_contrast={rms[bad][0]} may take the modulation of seed={seed[bad][0]:.0f} beyond "
            f"-1 to 1; use at most {fits:g}, or another seed"
        )


def range_sparse_noise(
    *, polarity: ArrayLike = 1.0, contrast: ArrayLike = 1.0, **others: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest modulation of each stimulus."""
    polarity, contrast = vectors(polarity, contrast)
    return np.minimum(polarity * contrast, 0), np.maximum(polarity * contrast, 0)


def range_filtered_noise(
    *,
    seed: ArrayLike,
    low_frequency: ArrayLike,
    high_frequency: ArrayLike,
    period: ArrayLike,
    rms_contrast: ArrayLike,
    spectral_slope: ArrayLike = 0.0,
    **others: ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of each stimulus's modulation, within 7 % of the largest."""
    seed, low, high, period, rms, slope = vectors(
        seed, low_frequency, high_frequency, period, rms_contrast, spectral_slope
    )
    peak = rms * _peaks(seed, low * period, high * period, slope)
    return -peak, peak


def white_noise_pixels(
    field: VisualField,
    *,
    check_size: ArrayLike,
    side: ArrayLike,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    **others: ArrayLike,
) -> np.ndarray:
    """How many of the field's pixels are in the check of each pixel: (stimulus, y, x).

    0 where there is no check.
    """
    size, side, x, y, *_ = vectors(check_size, side, x, y, *others.values())
    count = np.rint(side / size).astype(int)
    return _together(_checks(field.y, y, size, count), _checks(field.x, x, size, count))


def sparse_noise_pixels(
    field: VisualField,
    *,
    check_size: ArrayLike,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    **others: ArrayLike,
) -> np.ndarray:
    """How many of the field's pixels are in the spot that a pixel is in: (stimulus, y, x).

    0 beside the spot.
    """
    size, x, y, *_ = vectors(check_size, x, y, *others.values())
    return _together(_checks(field.y, y, size, 1), _checks(field.x, x, size, 1))


def _checks(
    position: np.ndarray, center: np.ndarray, size: np.ndarray, count: np.ndarray | int
) -> np.ndarray:
    """Which of ``count`` checks around a centre each position is in, -1 for none: (stimulus, n)."""
    first_edge = (center - count * size / 2)[:, None]
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
    device: torch.device | str,
) -> Tensor:
    """Checks (stimulus, row, column), of which the last row and column are 0, as modulations."""
    stimulus = np.arange(len(polarity))[:, None, None]
    shown = polarity[stimulus, rows[:, :, None], columns[:, None, :]]  # (stimulus, y, x)
    amplitude = torch.from_numpy(contrast.astype(np.float32)).to(device)[:, None, None]
    return torch.from_numpy(shown).to(device).float().mul_(amplitude)


def _together(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    high, wide = (
        ((index[:, :, None] == index[:, None, :]).sum(-1) * (index >= 0))
        for index in (rows, columns)
    )
    return high[:, :, None] * wide[:, None, :]


def _waves(
    key: np.ndarray, low: np.ndarray, high: np.ndarray, slope: np.ndarray, rms: np.ndarray
) -> np.ndarray:
    """The c_jk, bands in cycles per period: complex (stimulus, k from 0, j from -most to most)."""
    most = _cycles(high.max())
    waves = np.zeros((key.size, most + 1, 2 * most + 1), complex)
    for i in range(key.size):
        own = _cycles(high[i])
        inner = slice(most - own, most + own + 1)
        shown = _in_band(low[i], high[i])
        scale = np.zeros(shown.shape)
        scale[shown] = np.hypot(*_lattice(own))[shown] ** -slope[i]
        c = scale * _gaussian(int(key[i]), own)
        waves[i, : own + 1, inner] = c * (rms[i] / np.sqrt((abs(c) ** 2).sum() / 2))
    return waves


def _peaks(key: np.ndarray, low: np.ndarray, high: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """What modulations of an r.m.s. of 1 stay within, everywhere; bands in cycles per period."""
    return np.array([_peak(*map(float, one)) for one in zip(key, low, high, slope, strict=True)])


@lru_cache(maxsize=2**14)
def _peak(key: float, low: float, high: float, slope: float) -> float:
    (waves,) = _waves(*vectors(key, low, high, slope, 1.0))
    most = len(waves) - 1
    points = SAMPLES_PER_CYCLE * most
    # Of irfft2 the last axis has no negative frequencies, and those of 0 count once, not twice.
    spectrum = np.zeros((points, points // 2 + 1), np.complex64)
    spectrum[np.arange(-most, most + 1), : most + 1] = waves.T / 2
    spectrum[:, 0] *= 2
    sampled = irfft2(spectrum, (points, points), norm="forward")
    # Around its peak a trigonometric polynomial of n cycles falls no faster than cos(n angle) (M.
    # Riesz), in x and then in y, and the nearest sample is half a sample away.
    return float(abs(sampled).max() / np.cos(np.pi / SAMPLES_PER_CYCLE) ** 2)


def _in_band(low: float, high: float) -> np.ndarray:
    """Which (k, j) lie in a band of cycles per period, one of each pair: (k from 0, j)."""
    j, k = _lattice(_cycles(high))
    radius = np.hypot(j, k)
    one_of_two = (k > 0) | (j > 0)
    return one_of_two & (radius >= low - ON_THE_EDGE) & (radius <= high + ON_THE_EDGE)


def _gaussian(key: int, most: int) -> np.ndarray:
    """A complex Gaussian number for each (k, j), the same however many there are.

    They are drawn ring by ring, max(abs(j), k) = 1, 2 ..., a ring from (k, j) = (0, n) counter-
    clockwise to before (0, -n): 4 n numbers, after the 2 n (n - 1) of the rings within. By Box and
    Muller, from raw bits, which are what no version of numpy may change.
    """
    j, k = _lattice(most)
    n = np.maximum(abs(j), k)
    right, top = j == n, k == n
    place = np.where(right, k, np.where(top, 2 * n - j, 4 * n - k))
    index = np.clip(2 * n * (n - 1) + place, 0, None)  # (0, 0) has no number, and no use for one
    words = np.random.Philox(key=key).random_raw(2 * (2 * most * (most + 1) + 1)) >> np.uint64(11)
    first, second = words.reshape(-1, 2).T / 2.0**53  # in [0, 1)
    normal = np.sqrt(-2 * np.log1p(-first)) * np.exp(2j * np.pi * second)
    return normal[index]


def _lattice(most: int) -> tuple[np.ndarray, np.ndarray]:
    """j and k: (1, 2 most + 1) and (most + 1, 1)."""
    return np.arange(-most, most + 1)[None, :], np.arange(most + 1)[:, None]


def _cycles(high: float) -> int:
    return int(np.floor(high + ON_THE_EDGE))


def _basis(position: np.ndarray, first: int, last: int) -> np.ndarray:
    """exp(2 pi i n position) for n from first to last: (stimulus, position, n)."""
    return np.exp(2j * np.pi * position[:, :, None] * np.arange(first, last + 1))


def _require_seed(seed: np.ndarray) -> None:
    if (bad := ~((seed >= 0) & (seed <= LARGEST_SEED) & (seed == np.floor(seed)))).any():
        raise ValueError(f"seed={seed[bad][0]} is not a whole number from 0 to 2^53")
