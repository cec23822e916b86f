"""Is it chance: differences between populations, tested by permutation."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import xarray as xr
from scipy.special import gammaln
from scipy.stats import binom, norm, rankdata

from ephys.statistics import check_no_angle, check_resampling, percentile_interval, portions

Statistic = Literal["mean", "median"]
MIDDLES: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "median": np.median}
RESULTS = ("difference", "low", "high", "p", "effect_size", "effect_low", "effect_high")
EFFECTS = {
    ("mean", False): "Hedges' g",
    ("mean", True): "Hedges' g of the differences",
    ("median", False): "Cliff's delta",
    ("median", True): "Cliff's delta of the differences",
}
IDENTITY = ("channel", "row", "column")  # of a unit, whatever layer or model it is in
TIE = 1e-9  # relative; statistics this close differ by the rounding of their sums


def permutation_test(
    a: xr.DataArray,
    b: xr.DataArray,
    dim: str = "unit",
    *,
    statistic: Statistic = "mean",
    paired: bool = False,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    r"""Two-sided permutation test of the difference between two populations of units.

    .. math:: p = (1 + \#\{|T^*| \geq |T|\}) / (1 + resamples)

    T is the difference over its standard error (Welch's t of means), of the units as they are; T*
    after they were given to a and b anew, or, of pairs, after a and b were swapped in units at
    random. Whole units are, so what belongs to one unit stays together. The null of which p is
    exact: both are of *one distribution*; of pairs, the differences a - b are *symmetric about 0*.
    In large populations p is right also where only the means, or medians, are the same: a wider
    spread of one, or more units in one, make no difference. Under the bare difference they would,
    and medians of indices and ratios, whose spread goes with their size, would seem to differ.

    Parameters
    ----------
    a, b : values of one measure in two layers, or models, or conditions, with ``dim`` and other
        dimensions that are the same in both, or in one of them only. Units whose value is NaN are
        left out, of pairs both. Dask arrays are computed here.
    paired : the same units, in the same order.
    resamples : permutations, and resamples of the bootstrap; no p is below 1 / (1 + resamples).
    level : coverage of the intervals.
    seed : of both; the same seed gives the same numbers.

    Returns
    -------
    Without ``dim``:

    - ``difference`` : mean or median of a less that of b; of pairs, that of the differences.
    - ``low``, ``high`` : its percentile bootstrap interval; units of a and b are drawn apart, pairs
      together.
    - ``p`` : NaN for fewer than two units (or pairs) on either side.
    - ``effect_size``, ``effect_low``, ``effect_high`` : ``attrs["long_name"]`` says which. Of a
      mean, Hedges' g, the difference in pooled standard deviations (of pairs: in those of their
      differences) without the bias of few units; NaN where there is no spread. Of a median, Cliff's
      delta, P(a > b) - P(a < b), between -1 and 1 (of pairs, the same share of them).
    - ``count_a``, ``count_b`` : units that have a value.

    Raises
    ------
    ValueError : if the other dimensions differ, pairs do not match, a number is out of range, or
        the values are angles, which have a ``period``.
    KeyError : for another statistic.

    References
    ----------
    Phipson & Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9:39: p.
    Janssen (1997), Statistics & Probability Letters 36:9; Chung & Romano (2013), Annals of
    Statistics 41:484: T. Price & Bonett (2001), Journal of Statistical Computation and Simulation
    68:295: standard error of a median. Hedges (1981), Journal of Educational Statistics 6:107.
    Cliff (1993), Psychological Bulletin 114:494.
    """
    check_resampling(resamples, level)
    if statistic not in MIDDLES:
        raise KeyError(f"statistic={statistic!r} is none of {', '.join(MIDDLES)}")
    for name, side in (("a", a), ("b", b)):
        check_no_angle(side, name)
    if paired:
        _check_pairs(a, b, dim)
    a, b = _side_by_side(a, b, dim)
    template = a.isel({dim: 0}) - b.isel({dim: 0})  # which keeps the coordinates that agree
    sides = [side.values.astype(float).reshape(side.sizes[dim], -1) for side in (a, b)]
    if paired:
        both = np.isfinite(sides[0]) & np.isfinite(sides[1])
        sides = [np.where(both, side, np.nan) for side in sides]
    present = [np.isfinite(side) for side in sides]
    patterns, which = np.unique(np.concatenate(present), axis=1, return_inverse=True)
    found = np.full((len(RESULTS), template.size), np.nan)
    for index, pattern in enumerate(patterns.T):  # columns in which the same units have a value
        columns = which.ravel() == index
        kept = np.split(pattern, [len(sides[0])])
        values = [side[rows][:, columns] for side, rows in zip(sides, kept, strict=True)]
        samples = [values[0] - values[1]] if paired else values
        if all(map(len, samples)):
            found[:, columns] = _tested(samples, statistic, resamples, level, seed)
    counts = [rows.sum(0) for rows in present]
    results = dict(zip((*RESULTS, "count_a", "count_b"), (*found, *counts), strict=True))
    dataset = xr.Dataset(
        {name: template.copy(data=v.reshape(template.shape)) for name, v in results.items()}
    )
    dataset["effect_size"].attrs.update(long_name=EFFECTS[statistic, paired], units="1")
    return dataset


def permutation_p(exceeding: np.ndarray, permutations: int) -> np.ndarray:
    """p, of how many permutations reach the observed statistic, which is itself one more."""
    return (1 + exceeding) / (1 + permutations)


def cliffs_delta(a: np.ndarray, b: np.ndarray, axis: int = 0) -> np.ndarray:
    """P(a > b) - P(a < b) along an axis, of all pairs, from -1 to 1."""
    count, other = a.shape[axis], b.shape[axis]
    ranks = rankdata(np.concatenate([a, b], axis), axis=axis)
    # The ranks of a add up to those that it has alone, and to the pairs that it wins, ties by half.
    of_a = np.split(ranks, [count], axis)[0].sum(axis)
    return (2 * of_a - count * (count + 1)) / (count * other) - 1


def check_same_units(
    a: xr.DataArray, b: xr.DataArray, of_a: str, of_b: str, dim: str = "unit"
) -> None:
    """Refuse, with a ValueError, two of as many units whose coordinates say that they differ."""
    for name in [*IDENTITY, dim]:
        if name in a.coords and name in b.coords:
            one, other = (np.asarray(side[name].values) for side in (a, b))
            same = (one == other) | ((one != one) & (other != other))  # both NaN
            if not same.all():
                raise ValueError(f"{name} of {of_a} is not that of {of_b}; sort both alike")


def _check_pairs(a: xr.DataArray, b: xr.DataArray, dim: str) -> None:
    if a.sizes[dim] != b.sizes[dim]:
        raise ValueError(
            f"paired: a has {a.sizes[dim]} along {dim}, b {b.sizes[dim]}; select the same in both"
        )
    check_same_units(a, b, "a", "b, paired with it", dim)


def _side_by_side(a: xr.DataArray, b: xr.DataArray, dim: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Both with ``dim`` first and the same other dimensions, and a unit at least."""
    bare = []
    for side in (a, b):
        side = side.drop_vars([name for name, c in side.coords.items() if dim in c.dims])
        bare.append(side if side.sizes[dim] else side.pad({dim: (0, 1)}))  # one without a value
    try:
        aligned = xr.align(*bare, join="exact", exclude=[dim])
    except ValueError as error:
        differing = [
            str(name)
            for name in bare[0].dims
            if name != dim and name in bare[1].dims and not bare[0][name].equals(bare[1][name])
        ]
        raise ValueError(
            f"{', '.join(differing)} of a is not that of b; select what both have"
        ) from error
    wide = xr.broadcast(*aligned, exclude=[dim])
    others = [name for name in wide[0].dims if name != dim]
    return wide[0].transpose(dim, *others), wide[1].transpose(dim, *others)


def _tested(
    samples: list[np.ndarray], statistic: Statistic, resamples: int, level: float, seed: int
) -> tuple[np.ndarray, ...]:
    """All of RESULTS, (column), of a and b, or of their differences: (unit, column) without NaN."""
    paired = len(samples) == 1
    effect = EFFECT_SIZES[statistic, paired]
    shuffling, *drawing = np.random.default_rng(seed).spawn(1 + len(samples))
    once = [sample[None] for sample in samples]
    observed = np.abs(_studentized(once, statistic))[0]
    least = observed - TIE * np.maximum(observed, 1)
    exceeding, drawn, effects = np.zeros(len(observed)), [], []
    for draws in portions(resamples, sum(sample.size for sample in samples)):
        shuffled = (_swapped if paired else _given_anew)(samples, draws, shuffling)
        exceeding += (np.abs(_studentized(shuffled, statistic)) >= least).sum(0)
        again = [
            sample[rng.integers(len(sample), size=(draws, len(sample)))]
            for sample, rng in zip(samples, drawing, strict=True)
        ]
        drawn.append(_difference(again, statistic))
        effects.append(effect(again))
    enough = min(map(len, samples)) > 1
    p = np.where(enough, permutation_p(exceeding, resamples), np.nan)
    low, high = percentile_interval(np.concatenate(drawn), level)
    size = effect(once)[0]
    ends = percentile_interval(np.concatenate(effects), level)
    effect_low, effect_high = (np.where(np.isfinite(size), end, np.nan) for end in ends)
    return _difference(once, statistic)[0], low, high, p, size, effect_low, effect_high


def _given_anew(
    samples: list[np.ndarray], draws: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """To a and b as many units of both as they have: (unit, column) to (draw, unit, column)."""
    pooled = np.concatenate(samples)
    rows = rng.permuted(np.tile(np.arange(len(pooled)), (draws, 1)), axis=1)
    return np.split(pooled[rows], [len(samples[0])], axis=1)


def _swapped(samples: list[np.ndarray], draws: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Differences of random sign, the same in all columns of a unit."""
    (differences,) = samples
    signs = 2.0 * rng.integers(2, size=(draws, len(differences))) - 1
    return [signs[:, :, None] * differences]


def _difference(samples: list[np.ndarray], statistic: Statistic) -> np.ndarray:
    """Of a less b, or of differences: (draw, unit, column) to (draw, column)."""
    first, *second = (MIDDLES[statistic](sample, axis=1) for sample in samples)
    return first - sum(second)


def _studentized(samples: list[np.ndarray], statistic: Statistic) -> np.ndarray:
    """The difference over its standard error; the largest number for constants that differ."""
    difference = _difference(samples, statistic)
    error = np.sqrt(sum(SQUARED_ERRORS[statistic](sample) for sample in samples))
    most = np.where(difference == 0, 0, np.finfo(float).max)
    return np.divide(difference, error, out=most, where=error > 0)


def _squared_error_of_mean(sample: np.ndarray) -> np.ndarray:
    return _variance(sample) / sample.shape[1]


def _squared_error_of_median(sample: np.ndarray) -> np.ndarray:
    """From how far apart two order statistics are, a sign test's interval around the median."""
    count = sample.shape[1]
    below = max(round((count + 1) / 2 - np.sqrt(count)), 1)
    z = norm.isf(binom.cdf(below - 1, count, 0.5))
    ends = np.partition(sample, [below - 1, count - below], axis=1)
    return ((ends[:, count - below] - ends[:, below - 1]) / (2 * z)) ** 2


def _variance(sample: np.ndarray) -> np.ndarray:
    """Unbiased, (draw, unit, column) to (draw, column); 0 for what differs by rounding, or not."""
    squares = ((sample - sample.mean(1, keepdims=True)) ** 2).sum(1)
    rounding = sample.shape[1] * (sample.shape[1] * np.finfo(float).eps) ** 2
    squares = np.where(squares <= rounding * (sample**2).max(1), 0, squares)
    return squares / max(sample.shape[1] - 1, 1)


def _hedges_g(samples: list[np.ndarray]) -> np.ndarray:
    freedom = sum(sample.shape[1] - 1 for sample in samples)
    difference = _difference(samples, "mean")
    if freedom < 2:
        return np.full(difference.shape, np.nan)
    pooled = sum((s.shape[1] - 1) * _variance(s) for s in samples) / freedom
    unbiased = np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    spread = np.sqrt(pooled)
    nan = np.full(difference.shape, np.nan)
    return unbiased * np.divide(difference, spread, out=nan, where=spread > 0)


def _cliffs_delta(samples: list[np.ndarray]) -> np.ndarray:
    a, b = samples
    return cliffs_delta(a, b, axis=1)


def _cliffs_delta_paired(samples: list[np.ndarray]) -> np.ndarray:
    return np.sign(samples[0]).mean(1)


SQUARED_ERRORS = {"mean": _squared_error_of_mean, "median": _squared_error_of_median}
EFFECT_SIZES: dict[tuple[str, bool], Callable[[list[np.ndarray]], np.ndarray]] = {
    ("mean", False): _hedges_g,
    ("mean", True): _hedges_g,
    ("median", False): _cliffs_delta,
    ("median", True): _cliffs_delta_paired,
}
