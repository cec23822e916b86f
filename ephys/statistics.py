"""How sure: intervals over units."""

from typing import Literal

import numpy as np
import xarray as xr

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
    resamples, seed : of the bootstrap; the same seed gives the same interval.

    Returns
    -------
    ``estimate``, ``low``, ``high`` and ``count`` without ``dim``; NaN where no unit has a value.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} is below 1")
    reduce = {"mean": _mean, "median": _median}[statistic]
    if not values.sizes[dim]:
        values = values.pad({dim: (0, 1)})  # one unit without a value
    units_first = values.transpose(dim, ...)
    data = units_first.values.astype(float)
    rng = np.random.default_rng(seed)
    drawn = []
    chunk = max(1, CHUNK_VALUES // max(data.size, 1))
    for start in range(0, resamples, chunk):
        rows = rng.integers(len(data), size=(min(chunk, resamples - start), len(data)))
        drawn.append(_means(data, rows) if statistic == "mean" else _median(data[rows], axis=1))
    tail = (1 - level) / 2
    low, high = _quantiles(np.concatenate(drawn), (tail, 1 - tail))
    of_units = [name for name, c in values.coords.items() if dim in c.dims]
    template = units_first.drop_vars(of_units).isel({dim: 0})
    results = {"estimate": reduce(data, axis=0), "low": low, "high": high}
    dataset = xr.Dataset({name: template.copy(data=result) for name, result in results.items()})
    return dataset.assign(count=template.copy(data=np.isfinite(data).sum(0)))


def _means(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``_mean`` of each row of draws, from how often each unit was drawn."""
    draws, units = len(rows), len(values)
    places = rows + units * np.arange(draws)[:, None]
    times = np.bincount(places.ravel(), minlength=draws * units).reshape(draws, units).astype(float)
    finite = np.isfinite(values).reshape(units, -1)
    total = times @ np.where(finite, values.reshape(units, -1), 0)
    count = times @ finite
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
