"""Who groups with whom: are units more alike, or less, within groups than between them?"""

import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.stats import t as student

from ephys.groups import CLUSTERED_ON, SAME, fingerprint, numbered
from ephys.multiple_comparisons import Method, check_method, correct
from ephys.permutation import TIE, check_same_units, permutation_p
from ephys.similarity import checked
from ephys.statistics import check_resampling, portions

STATISTICS = {
    "difference": "similarity within less that between groups",
    "variance_explained": "share of variance explained by group",
    "silhouette": "mean silhouette",
}
RESULTS = {
    "observed": "observed",
    "expected": "mean of the permutations",
    "effect_size": "observed less expected, in standard deviations of the permutations",
    "low": "observed, lower end of its interval",
    "high": "observed, upper end of its interval",
    "p": "two-sided p of the permutations",
}
ALIKE = 1e-12  # 1 - S, on average, below which units do not differ but by rounding


def grouping_test(
    properties: Mapping[str, xr.DataArray],
    groups: ArrayLike | xr.DataArray,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    method: Method = "holm",
    seed: int = 0,
    keep_permuted: bool = False,
) -> xr.Dataset:
    r"""Test whether units are more alike within groups, or less, than by chance.

    Three statistics, of similarities S, 1 of a unit with itself, and squared distances
    :math:`d^2 = 2 (1 - S)`, over pairs of different units:

    - ``difference`` : mean S of pairs within a group less that of pairs between groups. Each pair
      counts the same, so large groups count most. 0 by chance.
    - ``variance_explained`` : :math:`1 - SS_{within} / SS_{total}`, where the sum of squares of n
      units is their squared distances, each pair once, over n (PERMANOVA's R squared); of a number
      per unit it is the eta squared of an analysis of variance. By chance it is not 0 but
      (groups - 1) / (units - 1). In groups of the same size it says what the difference says.
    - ``silhouette`` : mean over units of :math:`(b - a) / \max(a, b)`, with the mean distances a to
      the others of its group and b to the other group that is nearest; 0 for a unit alone in its
      group. Below 0 by chance.

    A pair counts by the product of its weights, where units have any, and so do sums of squares.

    .. math:: p = \min(1, 2 \min(p_{low}, p_{high})), \quad
        p_{high} = (1 + \#\{T^* \geq T\}) / (1 + resamples)

    with T* after the labels were given to the units anew, weights staying with their units. Each
    tail is counted by itself, since the distributions are skewed: members that are *less* alike
    than chance, as of a group that has one of everything, show as plainly as those more alike. The
    null of which p is exact: the units are exchangeable, which group they are in makes no
    difference to any property, weight included.

    The interval is of ``observed``, with other units from the *same groups*, as many in each: what
    such a sample shows on average lies in it. It is Student's t, of a variance that is the
    stratified jackknife's over units plus that of the permutations. Where groups hardly differ, the
    first one alone falls to 0 by chance and the interval would be too narrow; with both it is
    rather too wide, leaves ``expected`` out only where ``effect_size`` is beyond 2 or so, and may
    end above 1. In simulations of groups of one size 91 to 100 % of the 95 % intervals hold; of one
    of 2 to 4 units beside one of 30 or 40, 92 to 100 %, but 87 to 91 % of ``variance_explained``.
    It takes the units of a group as drawn on their own, and is much too wide where they keep apart
    from each other, or where the groups do: for four groups of orientations 45 degrees apart, of a
    spread of 10, 5 and 3 degrees, 2, 7 and 19 times, but for the silhouette. It takes the
    variance that a number's similarity is in as given, and is twice too wide for the difference of
    groups of numbers far apart. A silhouette has none if a group has a single unit, from which all
    others have a distance and nothing says how it varies. What other groups, or another training,
    would show it does not say.

    Parameters
    ----------
    properties : by name, (unit, unit_2) each, from :mod:`ephys.similarity`. Units that lack one, or
        have no weight in it, are left out there.
    groups : (unit,), from :mod:`ephys.groups`, or any labels; units of the empty word are left out.
        On what they were clustered on, as far as it is of the same units in the same order, only
        ``observed`` is given.
    resamples : permutations; no p is below 2 / (1 + resamples).
    level : coverage of the intervals.
    method : of correction for the number of properties, :func:`.multiple_comparisons.correct`; each
        statistic is corrected by itself: choose the one to go by before.
    seed : of the permutations, which are the same for all statistics, and for all properties that
        the same units have.
    keep_permuted : whether to return ``permuted`` too: every permutation's statistics.

    Returns
    -------
    Along ``property`` and ``statistic``: ``observed``, ``expected``, the mean of the permutations,
    ``effect_size``, how far the one is above the other in standard deviations of the permutations,
    ``low``, ``high``, ``p``, ``p_corrected``; along ``property``: ``n_units`` and ``n_groups`` that
    have the property. All are NaN where units do not differ, and where fewer than two groups are
    left or no two units in any; ``low`` and ``high`` of a silhouette if any group has one unit.

    Raises
    ------
    ValueError : for no properties, a similarity or groups that are none, of other numbers of units
        or other units, fewer than two groups or only groups of one, and ``resamples`` or ``level``
        out of range.
    KeyError : for another method.

    Warns
    -----
    UserWarning : where the groups were clustered on another similarity: of what goes with that, p
        says nothing.

    References
    ----------
    Anderson (2001), Austral Ecology 26:32: squares from distances. Rousseeuw (1987), Journal of
    Computational and Applied Mathematics 20:53: silhouette. Phipson & Smyth (2010), Statistical
    Applications in Genetics and Molecular Biology 9:39: p. Efron & Stein (1981), Annals of
    Statistics 9:586: variance of the jackknife.

    Examples
    --------
    >>> from ephys import groups, similarity
    >>> tilt = similarity.circular([0, 45, 90, 135] * 8, period=180)  # each group has all four
    >>> found = grouping_test({"orientation": tilt}, groups.contiguous(32, 4)).sel(
    ...     property="orientation", statistic="difference"
    ... )
    >>> round(float(found["observed"]), 3), bool(found["p"] < 0.001)
    (-0.333, True)
    """
    check_resampling(resamples, level)
    check_method(method)
    if not (isinstance(properties, Mapping) and properties):
        raise ValueError(
            "no properties; give a similarity for each, by name: {'hue': similarity.circular(...)}"
        )
    cells = (len(properties), len(STATISTICS))
    results = {name: np.full(cells, np.nan) for name in RESULTS}
    permuted = np.full((*cells, resamples if keep_permuted else 0), np.nan)
    counts = np.zeros((2, len(properties)), int)
    for row, (name, similarity) in enumerate(properties.items()):
        matrix, labels, weights, circular = _case(name, similarity, groups)
        counts[:, row] = len(labels), labels.max(initial=-1) + 1
        apart = _mean_apart(matrix, labels, weights)
        if not apart > ALIKE:
            continue
        results["observed"][row] = _statistics(matrix, labels[None], weights[None])[0]
        if not circular:
            drawn = _permuted(matrix, labels, weights, resamples, np.random.default_rng(seed))
            variance = _jackknife(matrix, labels, weights) + drawn.var(0)
            freedom = len(labels) - counts[1, row]
            scale = np.array([apart, 1, 1])
            error = np.sqrt(variance)
            found = _beside(results["observed"][row], drawn, scale, error, freedom, level)
            for key, values in found.items():
                results[key][row] = values
            if keep_permuted:
                permuted[row] = drawn.T
    return _dataset(list(properties), results, counts, permuted, method)


def _case(
    name: str, similarity: xr.DataArray, groups: ArrayLike | xr.DataArray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Of the units that count: similarity, group and weight; whether the first made the second."""
    try:
        matrix, weights = checked(similarity)
        numbers = numbered(groups, len(matrix))
        if isinstance(groups, xr.DataArray):
            check_same_units(similarity, groups, "the similarity", "the groups")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    circular = False
    if isinstance(groups, xr.DataArray) and CLUSTERED_ON in groups.attrs:
        circular = abs(groups.attrs[CLUSTERED_ON] - fingerprint(matrix)) < SAME
        if not circular:
            warnings.warn(
                f"{name}: the groups were clustered on another similarity, or other units or order "
                "of them; if this one goes with that, p says nothing",
                stacklevel=3,
            )
    here = (weights > 0) & (numbers >= 0)
    _, labels = np.unique(numbers[here], return_inverse=True)
    return matrix[np.ix_(here, here)], labels, weights[here], circular


def _mean_apart(matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """1 - S on average over pairs; 0 if there are not both pairs within and between groups."""
    sizes = np.bincount(labels)
    if len(sizes) < 2 or sizes.max() < 2:
        return 0.0
    pairs = np.outer(weights, weights)
    np.fill_diagonal(pairs, 0)
    return float(np.average(1 - matrix, weights=pairs))


def _statistics(matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """All of STATISTICS, (draw, statistic), of each draw's groups and weights, (draw, unit)."""
    draws, units = labels.shape
    count = labels.max() + 1
    # Sums are of 1 - S, which rounding leaves alone also where all units are nearly the same.
    unlike = np.where(np.eye(units, dtype=bool), 0, 1 - matrix)
    apart = np.sqrt(2 * np.maximum(unlike, 0))
    rows = (labels + count * np.arange(draws)[:, None]).ravel()
    group = np.bincount(rows, weights.ravel(), draws * count)  # its weight
    own = group[rows].reshape(labels.shape)
    beside = own - weights  # of the others in the unit's group

    columns = np.broadcast_to(np.arange(units), labels.shape).ravel()
    share = csr_array(((weights / own).ravel(), (rows, columns)), shape=(draws * count, units))
    to_group = (share @ unlike).reshape(draws, count, units)
    to_own = own * _of_own_group(to_group, labels)

    within, pairs_within = (weights * to_own).sum(1), (weights * beside).sum(1)
    every = (weights * (weights @ unlike)).sum(1)
    total = weights.sum(1)
    pairs = total**2 - (weights**2).sum(1)
    difference = _ratio(every - within, pairs - pairs_within) - _ratio(within, pairs_within)

    unexplained = (weights * to_own / own).sum(1)
    explained = 1 - _ratio(unexplained * total, every)

    to_group = (share @ apart).reshape(draws, count, units)
    a = _ratio(own * _of_own_group(to_group, labels), beside)
    np.put_along_axis(to_group, labels[:, None], np.inf, 1)
    b = to_group.min(1)
    each = np.nan_to_num(_ratio(b - a, np.maximum(a, b)))  # 0 of one alone, and if a = b = 0
    return np.stack([difference, explained, (weights * each).sum(1) / total], axis=1)


def _of_own_group(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(draw, group, unit) to (draw, unit)"""
    return np.take_along_axis(values, labels[:, None], 1)[:, 0]


def _permuted(
    matrix: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """All of STATISTICS with the labels given to the units anew, (resample, statistic)."""
    drawn = []
    for draws in portions(resamples, len(labels) * (1 + labels.max())):
        shuffled = rng.permuted(np.tile(labels, (draws, 1)), axis=1)
        drawn.append(_statistics(matrix, shuffled, np.tile(weights, (draws, 1))))
    return np.concatenate(drawn)


def _jackknife(matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Variance of STATISTICS, each group a stratum; one of a single unit adds nothing.

    The silhouette's is then NaN, since those of all others may be of their distance to that unit.
    """
    sizes = np.bincount(labels)
    left_out = np.flatnonzero(sizes[labels] > 1)
    without = []
    portion = 0
    for count in portions(len(left_out), len(labels) * len(sizes)):
        units = left_out[portion : portion + count]
        portion += count
        remaining = np.tile(weights, (count, 1))
        remaining[np.arange(count), units] = 0
        without.append(_statistics(matrix, np.tile(labels, (count, 1)), remaining))
    values = np.concatenate(without)
    of_group = np.eye(len(sizes))[labels[left_out]]
    means = (of_group.T @ values) / sizes[:, None]
    squares = of_group.T @ (values - of_group @ means) ** 2
    variance = (squares * ((sizes - 1) / sizes)[:, None]).sum(0)
    return np.where([False, False, sizes.min() < 2], np.nan, variance)


def _beside(
    observed: np.ndarray,
    drawn: np.ndarray,
    scale: np.ndarray,
    error: np.ndarray,
    freedom: int,
    level: float,
) -> dict[str, np.ndarray]:
    """What RESULTS say of the observed beside the permutations, (resample, statistic).

    Scale is of what size a statistic is, beside which rounding is small.
    """
    expected, spread = drawn.mean(0), drawn.std(0)
    near = TIE * np.maximum(np.abs(observed), scale)
    tails = [(drawn >= observed - near).sum(0), (drawn <= observed + near).sum(0)]
    half = student.ppf((1 + level) / 2, freedom) * error
    return {
        "expected": expected,
        "effect_size": _ratio(observed - expected, np.where(spread > TIE * scale, spread, 0)),
        "low": observed - half,
        "high": observed + half,
        "p": np.minimum(1, 2 * permutation_p(np.minimum(*tails), len(drawn))),
    }


def _dataset(
    names: list[str],
    results: dict[str, np.ndarray],
    counts: np.ndarray,
    permuted: np.ndarray,
    method: Method,
) -> xr.Dataset:
    dims, coords = ("property", "statistic"), {"property": names, "statistic": list(STATISTICS)}
    corrected = correct(xr.DataArray(results["p"], coords, dims), method, "property")
    of_corrected = _attrs(f"p, corrected for the number of properties ({method})")
    tables = {key: (dims, results[key], _attrs(what)) for key, what in RESULTS.items()}
    tables["p_corrected"] = (dims, corrected.values, of_corrected)
    lists = {
        key: ("property", of, _attrs(f"{what} that have the property"))
        for key, what, of in zip(("n_units", "n_groups"), ("units", "groups"), counts, strict=True)
    }
    kept = ((*dims, "permutation"), permuted, _attrs("of the permutations"))
    return xr.Dataset({**tables, **lists, **({"permuted": kept} if permuted.size else {})}, coords)


def _attrs(long_name: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1"}


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0)
