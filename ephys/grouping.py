"""Who groups with whom: are units more alike, or less, within groups than between them?"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.stats import t as student

from ephys.groups import CLUSTERED_ON, fingerprint, numbered
from ephys.multiple_comparisons import Method, correct
from ephys.permutation import TIE
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
ALIKE = 1e-12  # a mean squared distance below which units do not differ but by rounding


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
    rather too wide (in simulations, 91 to 100 % of the 95 % intervals hold), and leaves
    ``expected`` out only where ``effect_size`` is beyond 2 or so. It takes the units of a group as
    drawn on their own, and is much too wide where they keep apart from each other; it takes the
    variance that a number's similarity is in as given, and is twice too wide for the difference of
    groups of numbers far apart. What other groups, or another training, would show it does not say.

    Parameters
    ----------
    properties : by name, (unit, unit_2) each, from :mod:`ephys.similarity`. Units that lack one, or
        have no weight in it, are left out there.
    groups : (unit,), from :mod:`ephys.groups`, or any labels; units of the empty word are left out.
        On what they were clustered on only ``observed`` is given.
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
    left or no two units in any.

    Raises
    ------
    ValueError : for no properties, a similarity or groups that are none, of other numbers of units,
        fewer than two groups or only groups of one, and ``resamples`` or ``level`` out of range.
    KeyError : for another method.

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
    if not properties:
        raise ValueError(
            "no properties; give a similarity for each: {'hue': similarity.circular(...)}"
        )
    cells = (len(properties), len(STATISTICS))
    results = {name: np.full(cells, np.nan) for name in RESULTS}
    permuted = np.full((*cells, resamples if keep_permuted else 0), np.nan)
    counts = np.zeros((2, len(properties)), int)
    for row, (name, similarity) in enumerate(properties.items()):
        matrix, labels, weights, circular = _case(name, similarity, groups)
        counts[:, row] = len(labels), labels.max(initial=-1) + 1
        if not _differ(matrix, labels, weights):
            continue
        results["observed"][row] = _statistics(matrix, labels[None], weights[None])[0]
        if not circular:
            drawn = _permuted(matrix, labels, weights, resamples, np.random.default_rng(seed))
            variance = _jackknife(matrix, labels, weights) + drawn.var(0)
            freedom = len(labels) - counts[1, row]
            found = _beside(results["observed"][row], drawn, np.sqrt(variance), freedom, level)
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
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    made_from = groups.attrs.get(CLUSTERED_ON) if isinstance(groups, xr.DataArray) else None
    circular = made_from is not None and made_from == fingerprint(matrix)
    here = (weights > 0) & (numbers >= 0)
    _, labels = np.unique(numbers[here], return_inverse=True)
    return matrix[np.ix_(here, here)], labels, weights[here], circular


def _differ(matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> bool:
    """Whether there are pairs within and between groups, and they are not all the same."""
    sizes = np.bincount(labels)
    if len(sizes) < 2 or sizes.max() < 2:
        return False
    pairs = np.outer(weights, weights)
    np.fill_diagonal(pairs, 0)
    return bool(np.average(2 - 2 * matrix, weights=pairs) > ALIKE)


def _statistics(matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """All of STATISTICS, (draw, statistic), of each draw's groups and weights, (draw, unit)."""
    draws, units = labels.shape
    count = labels.max() + 1
    others = ~np.eye(units, dtype=bool)
    alike = np.where(others, matrix, 0)
    apart = np.sqrt(np.maximum(2 - 2 * matrix, 0), where=others, out=np.zeros_like(matrix))
    rows = (labels + count * np.arange(draws)[:, None]).ravel()
    group = np.bincount(rows, weights.ravel(), draws * count)  # its weight
    own = group[rows].reshape(labels.shape)
    beside = own - weights  # of the others in the unit's group

    columns = np.broadcast_to(np.arange(units), labels.shape).ravel()
    share = csr_array(((weights / own).ravel(), (rows, columns)), shape=(draws * count, units))
    to_group = (share @ alike).reshape(draws, count, units)
    to_own = own * _of_own_group(to_group, labels)

    within, pairs_within = (weights * to_own).sum(1), (weights * beside).sum(1)
    every = (weights * (weights @ alike)).sum(1)
    total = weights.sum(1)
    pairs = total**2 - (weights**2).sum(1)
    difference = _ratio(within, pairs_within) - _ratio(every - within, pairs - pairs_within)

    unexplained = (weights * (beside - to_own) / own).sum(1)
    explained = 1 - _ratio(unexplained * total, pairs - every)

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
    """Variance of STATISTICS, each group a stratum; one of a single unit adds nothing."""
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
    return (squares * ((sizes - 1) / sizes)[:, None]).sum(0)


def _beside(
    observed: np.ndarray, drawn: np.ndarray, error: np.ndarray, freedom: int, level: float
) -> dict[str, np.ndarray]:
    """What RESULTS say of the observed beside the permutations, (resample, statistic)."""
    expected, spread = drawn.mean(0), drawn.std(0)
    near = TIE * np.maximum(np.abs(observed), 1)
    tails = [(drawn >= observed - near).sum(0), (drawn <= observed + near).sum(0)]
    half = student.ppf((1 + level) / 2, freedom) * error
    return {
        "expected": expected,
        "effect_size": _ratio(observed - expected, np.where(spread > TIE, spread, 0)),
        "low": observed - half,
        "high": observed + half,
        "p": np.minimum(1, 2 * (1 + np.minimum(*tails)) / (1 + len(drawn))),
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
