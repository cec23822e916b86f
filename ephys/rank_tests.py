"""Differences between populations, many at once: a test of ranks, and intervals without drawing.

The permutations of :func:`ephys.permutation.permutation_test` take all units every time; medians,
besides, are a poor statistic for populations that lie far apart, since those of a mixture of both
jump from one to the other. Here p is of the ranks, and of measures whose ranks are tied alike the
permutations are the same.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from scipy.stats import rankdata

from ephys.permutation import TIE, cliffs_delta, permutation_p
from ephys.statistics import check_resampling, percentile_interval

Pair = tuple[np.ndarray, np.ndarray]
Statistic = Literal["median", "share"]
RESULTS = ("value_a", "value_b", "difference", "low", "high", "effect_size", "p")
MOST_BLOCKS = 128  # of ranks
MANY_UNITS = 1024  # beyond which blocks are drawn, and not the units in them, which takes no longer
AT_ONCE = 256  # permutations, which a processor holds in its cache


def differences(
    pairs: Sequence[Pair],
    statistics: Sequence[Statistic],
    *,
    permutations: int = 10_000,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict[str, float]]:
    r"""Medians, or shares, of two populations each: their difference, how large, and how likely.

    .. math:: p = (1 + \#\{|T^*| \geq |T|\}) / (1 + permutations)

    T is Cliff's delta over its standard error, the statistic of Brunner and Munzel; T* after the
    values were given to a and b anew. The null of which p is exact is that both are of one
    distribution; in large populations p is right also where only P(a > b) = P(a < b), and a wider
    spread of one, or more units in one, make no difference. Of more than 128 units those next to
    each other in rank, a 128th of all, count as equal in T and T*. Of shares T is Welch's t.

    Parameters
    ----------
    pairs : values of a and b, finite, (unit) each.
    statistics : of each pair ``"median"``, or of values that are 0 or 1 ``"share"``, their mean.
    permutations : of which no p is below 1 / (1 + permutations).
    resamples, level : of the percentile bootstrap interval; units of a and b are drawn apart.
    seed : the same seed gives a pair the same numbers, whatever other pairs there are.

    Returns
    -------
    For each pair ``value_a`` and ``value_b``; ``difference``, that of a less that of b, between
    ``low`` and ``high``; ``effect_size``, Cliff's delta, P(a > b) - P(a < b), from -1 to 1, of all
    units; and ``p``, NaN for fewer than two units on either side. All NaN for none.

    Raises
    ------
    KeyError : for another statistic.
    ValueError : for values that are not finite, or of a share not 0 or 1, permutations or resamples
        below 1, and a level that covers nothing or all.

    References
    ----------
    Brunner & Munzel (2000), Biometrical Journal 42:17: T. Neubert & Brunner (2007), Computational
    Statistics & Data Analysis 51:5192: T*. Phipson & Smyth (2010), Statistical Applications in
    Genetics and Molecular Biology 9:39: p. Cliff (1993), Psychological Bulletin 114:494: delta.
    """
    if permutations < 1:
        raise ValueError(f"permutations={permutations} is below 1")
    check_resampling(resamples, level)
    for index, (pair, statistic) in enumerate(zip(pairs, statistics, strict=True)):
        _check_values(np.concatenate(pair), statistic, index)
    found = [dict.fromkeys(RESULTS, np.nan) for _ in pairs]
    alike: dict[tuple[int, ...], list[int]] = {}  # pairs, by units of a and sizes of blocks
    observed = np.full(len(pairs), np.nan)
    for index, ((a, b), statistic) in enumerate(zip(pairs, statistics, strict=True)):
        if not (a.size and b.size):
            continue
        middle = np.median if statistic == "median" else np.mean
        drawn = _drawn(a, b, statistic, resamples, seed)
        low, high = percentile_interval(drawn, level)
        values = (float(middle(a)), float(middle(b)))
        ends = (values[0] - values[1], float(low), float(high), float(cliffs_delta(a, b)))
        found[index] |= dict(zip(RESULTS, (*values, *ends), strict=False))
        if min(a.size, b.size) > 1:
            of_a, sizes = _blocks(a, b)
            observed[index] = _studentized(of_a[None], sizes)[0]
            alike.setdefault((a.size, *sizes.tolist()), []).append(index)
    for (count, *blocks), which in alike.items():
        p = _permuted(observed[which], count, np.array(blocks), permutations, seed)
        for index, own in zip(which, p.tolist(), strict=True):
            found[index]["p"] = own
    return found


def _check_values(values: np.ndarray, statistic: Statistic, index: int) -> None:
    """Refuse what has no median, or of shares what is none, of the pair of that index."""
    if statistic not in get_args(Statistic):
        raise KeyError(f"statistic={statistic!r} is none of {', '.join(get_args(Statistic))}")
    if not (finite := np.isfinite(values)).all():
        wrong = values[~finite][0]
        raise ValueError(f"pair {index}: a value is {wrong:g}, not finite; leave the unit out")
    if statistic == "share" and (other := (values != 0) & (values != 1)).any():
        wrong = values[other][0]
        raise ValueError(f"pair {index}: a value is {wrong:g}, not 0 or 1; of it take the median")


def _blocks(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units of a in each block of equal ranks, and of both: (block)."""
    pooled = np.concatenate([a, b])
    _, place = np.unique(pooled, return_inverse=True)
    if len(pooled) > MOST_BLOCKS:
        grade = ((rankdata(pooled) - 0.5) * MOST_BLOCKS / len(pooled)).astype(int)
        _, place = np.unique(grade, return_inverse=True)
    sizes = np.bincount(place)
    return np.bincount(place[: len(a)], minlength=len(sizes)), sizes


def _permuted(
    observed: np.ndarray, count: int, sizes: np.ndarray, permutations: int, seed: int
) -> np.ndarray:
    """p of some T of as many units of a among blocks of the same sizes."""
    least = np.abs(observed) - TIE * np.maximum(np.abs(observed), 1)
    rng = np.random.default_rng([seed, count, *sizes.tolist()])
    exceeding = np.zeros(len(observed))
    for start in range(0, permutations, AT_ONCE):
        of_a = _given_anew(count, sizes, min(AT_ONCE, permutations - start), rng)
        exceeding += (np.abs(_studentized(of_a, sizes))[:, None] >= least).sum(0)
    return permutation_p(exceeding, permutations)


def _given_anew(count: int, sizes: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Of so many units of a, given to all places in blocks anew, those in each: (draw, block)."""
    if sizes.sum() > MANY_UNITS:
        return rng.multivariate_hypergeometric(sizes, count, draws)
    keys = rng.random((draws, sizes.sum()))
    of_a = keys <= np.partition(keys, count - 1, axis=1)[:, [count - 1]]
    if len(sizes) == of_a.shape[1]:
        return of_a
    return np.add.reduceat(of_a.astype(float), sizes.cumsum() - sizes, axis=1)


def _studentized(of_a: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cliff's delta over its standard error, from how many units of each block are of a.

    (draw, block) to (draw); the largest number where every unit of one exceeds every one of the
    other.
    """
    in_a = of_a.astype(float, copy=False)
    total, count = sizes.sum(), in_a[0].sum()
    other = total - count
    middle = sizes.cumsum() - sizes / 2  # units below each block and half of it; of a, and so of b:
    below = in_a.cumsum(1) - in_a / 2
    squares = below * below
    weighted = in_a * below
    mixed, own = weighted @ middle, (in_a * squares).sum(1)
    wins = in_a @ middle - count**2 / 2  # pairs in which a exceeds b, ties by half
    of_wins = in_a @ middle**2 - 2 * mixed + own  # squares over the units of a
    of_losses = squares @ sizes - own
    losses = count * other - wins
    error = _squares(of_wins, wins, count) / (count * other**2)
    error += _squares(of_losses, losses, other) / (other * count**2)
    delta = wins / (count * other) - 0.5
    most = np.where(delta == 0, 0, np.finfo(float).max)
    return np.divide(delta, np.sqrt(error), out=most, where=error > 0)


def _squares(squares: np.ndarray, total: np.ndarray, count: float) -> np.ndarray:
    """The variance from sums, 0 for what differs by rounding."""
    spread = squares - total**2 / count
    rounding = 64 * np.finfo(float).eps * squares
    return np.where(spread <= rounding, 0, spread) / (count - 1)


def _drawn(
    a: np.ndarray, b: np.ndarray, statistic: Statistic, resamples: int, seed: int
) -> np.ndarray:
    """Differences of as many units of a and of b as they have, drawn with replacement."""
    if statistic == "share":
        ones = [int(np.count_nonzero(side)) for side in (a, b)]
        rng = np.random.default_rng([seed, a.size, b.size, *ones])
        shares = [
            rng.binomial(s.size, n / s.size, resamples) / s.size
            for s, n in zip((a, b), ones, strict=True)
        ]
        return shares[0] - shares[1]
    rngs = np.random.default_rng([seed, a.size, b.size]).spawn(2)
    medians = [
        np.sort(side)[_drawn_middles(side.size, resamples, rng)].mean(0)
        for side, rng in zip((a, b), rngs, strict=True)
    ]
    return medians[0] - medians[1]


def _drawn_middles(count: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Of as many values drawn with replacement, the places of the two around the median.

    From 0, among the sorted values: (2, resample). Drawn places are those of uniform numbers, whose
    order statistics have beta distributions.
    """
    middle = (count + 1) // 2
    first = rng.beta(middle, count - middle + 1, resamples)
    second = first
    if count % 2 == 0:  # the least of those above the first
        second = first + (1 - first) * rng.beta(1, count - middle, resamples)
    return np.minimum((np.stack([first, second]) * count).astype(int), count - 1)
