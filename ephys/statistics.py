"""How sure: intervals over units, and over the repeats of a stimulus."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import xarray as xr

MANY_UNITS = 4096  # beyond which drawn medians are made from ranks, which takes no longer
CHUNK_VALUES = 2**22  # drawn at a time, which bounds the memory


def bootstrap_interval(
    values: xr.DataArray,
    dim: str = "unit",
    *,
    statistic: Literal["mean", "median"] = "mean",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """A mean or median over units, with its percentile bootstrap interval.

    Whole units are drawn with replacement, so what belongs to one unit stays together. Units
    whose value is NaN are left out of the statistic; ``count`` says how many were not. This needs
    all units at once: a dask array is computed here.

    Parameters
    ----------
    values : with ``dim`` and any other dimensions.
    level : coverage of the interval, between 0 and 1.
    resamples, seed : of the bootstrap; the same seed gives the same interval, to the bit and on
        any number of threads. Of more than 4,096 units, drawn medians come from the distribution of
        their ranks, which is the same, and the columns are then drawn apart.

    Returns
    -------
    ``estimate``, ``low``, ``high`` and ``count`` without ``dim``; NaN where no unit has a value.

    Raises
    ------
    ValueError : for an angle, which has a ``period``, and a level or resamples out of range.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    check_resampling(resamples, level)
    check_no_angle(values, "values")
    reduce = {"mean": _mean, "median": _median}[statistic]
    if not values.sizes[dim]:
        values = values.pad({dim: (0, 1)})  # one unit without a value
    units_first = values.transpose(dim, ...)
    data = units_first.values.astype(float)
    rng = np.random.default_rng(seed)
    drawn = []
    if statistic == "median" and len(data) > MANY_UNITS:
        drawn, resamples = [_drawn_medians(data, resamples, rng)], 0
    for size in portions(resamples, data.size):
        rows = rng.integers(len(data), size=(size, len(data)))
        drawn.append(_means(data, rows) if statistic == "mean" else _median(data[rows], axis=1))
    low, high = percentile_interval(np.concatenate(drawn), level)
    of_units = [name for name, c in values.coords.items() if dim in c.dims]
    template = units_first.drop_vars(of_units).isel({dim: 0})
    results = {"estimate": reduce(data, axis=0), "low": low, "high": high}
    dataset = xr.Dataset({name: template.copy(data=result) for name, result in results.items()})
    return dataset.assign(count=template.copy(data=np.isfinite(data).sum(0)))


def bootstrap_over(
    responses: xr.DataArray,
    measure: Callable[[xr.DataArray], xr.DataArray],
    dim: str = "phase",
    *,
    independent: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """A measure of each unit, with its percentile bootstrap interval over repeats of the stimuli.

    The entries of ``dim`` are drawn with replacement, as many as there are, the same for all units,
    and measured anew. The interval says how far the measure depends on which of them were shown.

    Phases evenly around the circle are no random draw: they leave less to chance than as many
    random phases would, and the interval is too wide rather than too narrow. Of few entries it is
    too narrow: of n, the variance of a mean is taken (n - 1) / n times too small. A measure that
    noise can only enlarge (a selectivity index near 0) is so once more in every draw, and its
    interval lies too high. It is not for angles, of which quantiles mean nothing.

    Parameters
    ----------
    responses : with ``dim`` and any others: ``grid(responses, "orientation", "phase")``. A dask
        array is computed here.
    measure : takes such an array, without the coordinate of ``dim``, since values that were drawn
        twice are on no circle, and gives one without ``dim``: ``lambda drawn:
        gosi(drawn.mean("phase"))``.
    dim : of the repeats: the phases, or images, or presentations.
    independent : draw anew for every condition (all dimensions but ``dim`` and ``unit``). For
        presentations of stimuli to a noisy model, where the third of one stimulus has nothing to
        do with the third of another; else what stands at one place of ``dim`` stays together.
    level, resamples, seed : as in :func:`bootstrap_interval`. All resamples of the measure are in
        memory at once; of more units than that allows, give some at a time: the draws are the same.

    Returns
    -------
    ``estimate``, ``low`` and ``high`` as the measure gives them, and ``defined``, the share of the
    resamples of which the measure was not NaN; the others are left out. All NaN where the estimate
    is.

    Raises
    ------
    ValueError : for fewer than two entries of ``dim``, a measure that leaves ``dim``, and a level
        or resamples out of range.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapters 8 and 13.
    """
    check_resampling(resamples, level)
    count = responses.sizes[dim]
    if count < 2:
        raise ValueError(f"{dim} has {count} entry; resampling takes two or more")
    along = [name for name, c in responses.coords.items() if dim in c.dims]
    conditions = [name for name in responses.dims if name not in (dim, "unit")]
    shown = responses.drop_vars(along).transpose(*conditions, dim, ...).compute()
    estimate = measure(shown)
    if dim in estimate.dims:
        raise ValueError(f"the measure leaves {dim}; it has to take it away, by a mean, say")
    estimate = estimate.transpose(*(d for d in responses.dims if d in estimate.dims), ...)
    shape = shown.shape[: len(conditions)] if independent else (1,) * len(conditions)
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, *estimate.shape))
    for draw in range(resamples):
        rows = rng.integers(count, size=(*shape, count))
        if "unit" in shown.dims:
            rows = rows[..., None]
        sample = shown.copy(data=np.take_along_axis(shown.values, rows, len(conditions)))
        drawn[draw] = measure(sample).transpose(*estimate.dims).values
    defined = np.isfinite(estimate)
    ends = zip(("low", "high"), percentile_interval(drawn, level), strict=True)
    interval = {name: estimate.copy(data=end).where(defined) for name, end in ends}
    share = estimate.copy(data=np.isfinite(drawn).mean(0)).where(defined)
    return xr.Dataset({"estimate": estimate, **interval, "defined": share.assign_attrs(units="1")})


def percentile_interval(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Low and high quantiles of a statistic's resamples, along their first axis.

    Resamples of which the statistic is undefined are left out; NaN where there are no others.
    """
    tail = (1 - level) / 2
    low, high = _quantiles(drawn, (tail, 1 - tail))
    return low, high


def portions(count: int, values: int) -> Iterator[int]:
    """Sizes of the portions of ``count`` draws, of so many values each, that memory bears."""
    most = max(1, CHUNK_VALUES // max(values, 1))
    yield from (min(most, count - start) for start in range(0, count, most))


def check_resampling(resamples: int, level: float) -> None:
    """Refuse, with a ValueError, no resamples, and an interval that covers nothing or all."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} is below 1")


def check_no_angle(values: object, name: str) -> None:
    """Refuse, with a ValueError, what says that it goes around: of such numbers is no mean."""
    period = values.attrs.get("period") if isinstance(values, xr.DataArray) else None
    if period is not None:
        raise ValueError(
            f"{name}: an angle of period={period:g} has no mean, median or variance; compare by "
            "similarity.circular, or drop the attribute period of what is no angle"
        )


def _drawn_medians(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Medians of draws of units, without drawing them: (draw, *columns) of values (unit, *columns).

    Of n units drawn with replacement, as many have a value as coins of that chance show; of m that
    do, the r-th smallest is the value whose rank is the r-th smallest of m uniform numbers, which
    is beta-distributed, and the next one is the least of the m - r numbers above it.
    """
    columns = values.reshape(len(values), -1)
    medians = np.full((draws, columns.shape[1]), np.nan)
    for median, column in zip(medians.T, columns.T, strict=True):
        known = np.sort(column[np.isfinite(column)])
        count = rng.binomial(column.size, known.size / column.size, draws)
        some = count > 0
        m = count[some]
        r = (m + 1) // 2
        rank = rng.beta(r, m - r + 1)
        above = np.where(m % 2, rank, rank + (1 - rank) * rng.beta(1, np.maximum(m - r, 1)))
        low, high = (
            known[np.minimum((at * known.size).astype(int), known.size - 1)] for at in (rank, above)
        )
        median[some] = (low + high) / 2
    return medians.reshape(draws, *values.shape[1:])


def _means(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``_mean`` of each row of draws, from how often each unit was drawn."""
    draws, units = len(rows), len(values)
    places = rows + units * np.arange(draws)[:, None]
    times = np.bincount(places.ravel(), minlength=draws * units).reshape(draws, units).astype(float)
    columns = values.reshape(units, -1).T
    finite = np.isfinite(columns)
    # einsum and not @, whose last bits depend on the number of threads.
    total = np.einsum("du,cu->dc", times, np.where(finite, columns, 0))
    count = times @ finite.T
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means.reshape(draws, *values.shape[1:])


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, values, 0).sum(axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _median(values: np.ndarray, axis: int) -> np.ndarray:
    """The median of what is finite; NaN sorts last."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=axis)
    count = np.isfinite(ordered).sum(axis, keepdims=True)
    middle = [np.maximum(rank, 0) for rank in ((count - 1) // 2, count // 2)]
    last = values.shape[axis] - 1
    low, high = (
        np.take_along_axis(ordered, np.minimum(rank, last), axis).squeeze(axis) for rank in middle
    )
    return np.where(count.squeeze(axis) > 0, (low + high) / 2, np.nan)


def _quantiles(values: np.ndarray, at: tuple[float, float]) -> np.ndarray:
    """Quantiles over the first axis; resamples that drew no defined unit are left out."""
    defined = np.isfinite(values)
    if defined.all():
        return np.quantile(values, at, axis=0)
    flat = values.reshape(len(values), -1)
    result = np.full((len(at), flat.shape[1]), np.nan)
    for column in np.flatnonzero(defined.reshape(flat.shape).any(0)):
        result[:, column] = np.quantile(flat[np.isfinite(flat[:, column]), column], at)
    return result.reshape(len(at), *values.shape[1:])
