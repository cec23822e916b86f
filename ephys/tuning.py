"""Tuning curves: the mean response along one parameter, aligned, and how wide it is.

Here and in the other measures, what is asked of a dask array is a dask array: nothing is read
before its values are, and then a block of units at a time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from ephys.responses import grid, varied_parameters

OVERSAMPLING = 10  # points of the interpolated curve for each measured one
CYCLES = ("phase", "mask_phase", "time")  # what a curve is averaged over


def tuning_curve(
    responses: xr.Dataset,
    dim: str = "orientation",
    *,
    by: str | None = None,
    preferred_by: xr.Dataset | None = None,
) -> xr.DataArray:
    """Mean response along one parameter, for each value of a second: ``(unit, [by,] dim)``.

    The response is averaged over the phase of a grating and of its mask, and over the time of one
    that moves. Of every other parameter that was varied (spatial frequency, say) each unit's own
    preferred value is taken: the one with the largest averaged response in the whole table. It is
    noted as a coordinate of ``unit``, as is the response to the ``blank``.

    Parameters
    ----------
    responses : of one family of stimuli, which are a complete grid.
    dim, by : parameters of the stimuli.
    preferred_by : responses of the same units in which to look for the largest, instead: of a
        plaid those without a mask, of a centre and its surround those to the centre alone.

    Raises
    ------
    KeyError : for a name that is no parameter of the stimuli.
    ValueError : if the stimuli are no grid, their phases do not go evenly around the circle, their
        times are not whole cycles, or ``preferred_by`` is of other values of the parameters.

    Examples
    --------
    >>> curves = tuning_curve(responses, "orientation", by="contrast")  # doctest: +SKIP
    >>> curves.dims  # doctest: +SKIP
    ('unit', 'contrast', 'orientation')
    """
    asked = [dim] if by is None else [by, dim]
    table = _averaged(responses, asked)
    others = [str(name) for name in table.dims if name not in [*asked, "unit"]]
    if others:
        judged = table if preferred_by is None else _averaged(preferred_by, others)
        table = _at_best(table, others, asked, judged)
    if "blank" in responses:
        table = table.assign_coords(blank=("unit", responses["blank"].data))
    return table.transpose("unit", *asked)


def preferred(curve: xr.DataArray, dim: str = "orientation") -> xr.DataArray:
    """Where the curve peaks, among the values that were shown; NaN for a flat curve."""
    peak = curve.idxmax(dim)
    tuned = curve.max(dim) > curve.min(dim)
    return peak.where(tuned).assign_attrs(curve[dim].attrs)


def align(
    curve: xr.DataArray,
    dim: str = "orientation",
    *,
    by: str | None = None,
    period: float = 180.0,
) -> xr.DataArray:
    """Turn every unit's curve around the circle so that its preferred value comes to 0.

    All curves of a unit are turned alike: by the preferred value at the ``by`` (contrast, say) of
    its largest response. Flat curves are NaN: nothing is preferred.

    Parameters
    ----------
    curve : with ``dim`` evenly around the circle, and any other dimensions.
    by : dimension whose curves belong to one unit.
    period : of ``dim``, degrees.

    Returns
    -------
    The array with ``relative_<dim>``, from -period/2 to below period/2, as its last dimension
    instead of ``dim``.
    """
    check_circle(curve[dim], period)
    together = [] if by is None else [by]
    relative, count = f"relative_{dim}", curve.sizes[dim]
    aligned = blockwise(
        _aligned,
        curve,
        core=[[*together, dim]],
        out=[[*together, relative]],
        sizes={relative: count},
        dtypes=[_floating(curve)],
        kwargs={"core": len(together) + 1},
    )
    attributes = {**curve[dim].attrs, "long_name": f"{dim} from preferred"}
    degrees = _from_peak(count) * period / count
    return aligned.assign_coords({relative: (relative, degrees, attributes)})


def half_width(
    curve: xr.DataArray,
    dim: str = "orientation",
    *,
    level: float = 0.5,
    period: float = 180.0,
) -> xr.DataArray:
    """Half the width, in degrees, of the curve at a share of its height.

    The curve is interpolated with a periodic cubic spline; the width lies between the points on
    either side of the peak at which it first falls to ``level`` times the peak, however far around
    the circle that is. 0.5 gives the half-width at half height, 1 / sqrt(2) that of Ringach,
    Shapley & Hawken (2002).

    What is narrower than the step between the points is not seen by them: at half height, a curve
    of half a step or less has the width of the spline, 0.6 to 0.9 of a step. Show more angles, or
    use :func:`ephys.curve_fits.fit_von_mises`.

    Parameters
    ----------
    curve : responses of at least 0, with ``dim`` evenly around the circle.
    level : between 0 and 1.
    period : of ``dim``, degrees.

    Returns
    -------
    The array without ``dim``. NaN for a curve that is negative somewhere, holds a NaN, has no
    response, or never falls to the level: it has no such width.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle, or for a level out of range.

    References
    ----------
    Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22:5639.
    """
    check_circle(curve[dim], period)
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    width = blockwise(_half_width, curve, core=[[dim]], kwargs={"level": level, "period": period})
    return width.assign_attrs(long_name=f"half-width at {level:.3g} of the peak", units="degree")


def check_circle(
    angles: xr.DataArray, period: float, *, least: int = 3, unit: str = "degrees"
) -> None:
    """Refuse, with a ValueError, angles that do not go around the circle once and evenly."""
    values, near = angles.values, 1e-6 * period
    step = period / len(values)
    if len(values) >= least and np.allclose(np.diff(values), step, rtol=0, atol=near):
        return
    circle = f"a circle of {period:g} {unit}"
    if abs(np.ptp(values) - period) <= near:
        wrong = f"{values.max():g} is {values.min():g} on {circle}; leave one out"
    elif len(values) < least:
        wrong = f"{circle} needs at least {least}, evenly around it"
    else:
        wrong = f"{circle} needs {len(values)} values that rise by {step:g}"
    raise ValueError(
        f"{angles.name} runs {values[0]:g} to {values[-1]:g} {unit} in {len(values)} values; "
        f"{wrong}"
    )


def check_rising(axis: xr.DataArray, *, above: float = -np.inf) -> None:
    """Refuse, with a ValueError, fewer than two values, or values that do not rise above a limit.

    Parameters
    ----------
    above : what the first has to be above.
    """
    values = axis.values
    if len(values) < 2 or not (values[0] > above and (np.diff(values) > 0).all()):
        limit = f" from above {above:g}" if above > -np.inf else ""
        raise ValueError(
            f"{axis.name}={values.tolist()} does not rise{limit} in two values or more; select "
            f"those, and sort them (curve.sortby({axis.name!r}))"
        )


def blockwise(
    kernel: Callable[..., Any],
    *arrays: Any,
    core: Sequence[Sequence[str]],
    out: Sequence[Sequence[str]] = ((),),
    sizes: Mapping[str, int] | None = None,
    dtypes: Sequence[Any] = (float,),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Apply a numpy kernel to whole arrays, or later to the blocks of dask arrays.

    The kernel gets every array in one layout of memory, so that what it gives for a unit does not
    depend, not even in its last bit, on which units come with it.

    Parameters
    ----------
    arrays : labelled.
    core, out : names of the last dimensions of every array that the kernel takes, and gives.
    sizes : of the dimensions that only ``out`` has.
    dtypes : of what the kernel gives, floats by default.
    kwargs : for the kernel.

    Returns
    -------
    An array for every entry of ``out``; the array itself if there is one.
    """
    return xr.apply_ufunc(
        partial(_on_contiguous, kernel),
        *arrays,
        input_core_dims=core,
        output_core_dims=out,
        kwargs=kwargs,
        keep_attrs=True,
        dask="parallelized",
        output_dtypes=dtypes,
        dask_gufunc_kwargs={"allow_rechunk": True, "output_sizes": sizes or {}},
    )


def _on_contiguous(kernel: Callable[..., Any], *arrays: np.ndarray, **kwargs: Any) -> Any:
    return kernel(*(np.asarray(array, order="C") for array in arrays), **kwargs)


def _floating(array: xr.DataArray) -> Any:
    """The type of its means."""
    return array.dtype if array.dtype.kind == "f" else float


def _averaged(responses: xr.Dataset, asked: Sequence[str]) -> xr.DataArray:
    """The grid of all that was varied, or is asked for, without the cycles that are not."""
    table = grid(responses, *dict.fromkeys([*asked, *varied_parameters(responses)]))
    for name in CYCLES:
        if name in table.dims and name not in asked:
            _check_cycles(table[name], responses)
            table = blockwise(_mean, table, core=[[name]], dtypes=[_floating(table)])
    return table


def _check_cycles(axis: xr.DataArray, responses: xr.Dataset) -> None:
    """Refuse, with a ValueError, phases or times whose mean is not that of whole cycles."""
    if axis.name == "time":
        step = np.ptp(axis.values) / (len(axis) - 1)
        for frequency in np.unique(responses["temporal_frequency"].values):
            cycles = max(1, round(frequency * step * len(axis)))
            if frequency > 0:
                check_circle(axis, cycles / frequency, least=2 * cycles, unit="seconds")
    else:
        check_circle(axis, 360.0, least=2)


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1)


def _peak(values: np.ndarray) -> np.ndarray:
    """The largest over the last axis, of what is not NaN."""
    return np.fmax.reduce(values, -1)


def _at_best(
    table: xr.DataArray, others: Sequence[str], asked: Sequence[str], judged: xr.DataArray
) -> xr.DataArray:
    """The slice of the table at each unit's preferred value of the other parameters."""
    for name in others:
        if not np.array_equal(table[name].values, judged[name].values):
            raise ValueError(
                f"{name}={judged[name].values.tolist()} of preferred_by is not that of the "
                f"responses, {table[name].values.tolist()}; select what both have"
            )
    also = [str(name) for name in judged.dims if name not in [*others, "unit"]]
    for name in sorted(also, key=CYCLES.__contains__, reverse=True):  # means, then peaks
        kernel, dtype = (_mean, _floating(judged)) if name in CYCLES else (_peak, judged.dtype)
        judged = blockwise(kernel, judged, core=[[name]], dtypes=[dtype])
    curves, *values = blockwise(
        _best_curves,
        table,
        judged.reset_coords(drop=True),
        core=[[*asked, *others], others],
        out=[asked, *([] for _ in others)],
        dtypes=[table.dtype, *(table[name].dtype for name in others)],
        kwargs={"axes": [table[name].values for name in others]},
    )
    return curves.assign_coords(
        {
            name: ("unit", value.data, table[name].attrs)
            for name, value in zip(others, values, strict=True)
        }
    )


def _best_curves(
    table: np.ndarray, judged: np.ndarray, *, axes: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Kernel of ``_at_best``: of (unit, *asked, *others) the (unit, *asked), and the others."""
    curves = table.reshape(*table.shape[: table.ndim - len(axes)], -1)  # (unit, *asked, condition)
    peak = judged.reshape(len(judged), math.prod(judged.shape[1:]))  # (unit, condition)
    best = np.where(np.isnan(peak), -np.inf, peak).argmax(-1)  # (unit,)
    chosen = np.take_along_axis(curves, np.expand_dims(best, tuple(range(1, curves.ndim))), -1)
    places = np.unravel_index(best, [len(axis) for axis in axes])
    return chosen[..., 0], *(axis[place] for axis, place in zip(axes, places, strict=True))


def _aligned(curves: np.ndarray, *, core: int) -> np.ndarray:
    """Kernel of ``align``: (..., by, angle) turned alike over by; of core = 1, (..., angle)."""
    count = curves.shape[-1]
    values = curves.reshape(-1, math.prod(curves.shape[-core:-1]), count)  # (unit, by, angle)
    peak = np.where(np.isnan(values), -np.inf, values).max(1).argmax(-1)  # (unit,)
    turned = (peak[:, None] + _from_peak(count))[:, None] % count
    aligned = np.take_along_axis(values, turned, axis=-1)
    flat = ~(np.fmax.reduce(values, -1) > np.fmin.reduce(values, -1)).any(1)
    return np.where(flat[:, None, None], np.nan, aligned).reshape(curves.shape)


def _from_peak(count: int) -> np.ndarray:
    """Steps from the peak, as many to either side of it as there are, and one more below."""
    return np.arange(count) - count // 2


def _half_width(curves: np.ndarray, *, level: float, period: float) -> np.ndarray:
    """Kernel of ``half_width``: (..., angle) to (...)."""
    count = curves.shape[-1]
    defined = np.isfinite(curves).all(-1) & (curves.min(-1) >= 0) & (curves.max(-1) > 0)
    values = np.where(defined[..., None], curves, 1.0)
    closed = np.concatenate([values, values[..., :1]], axis=-1)
    spline = CubicSpline(np.arange(count + 1), closed, axis=-1, bc_type="periodic")
    fine = spline(np.arange(count * OVERSAMPLING) / OVERSAMPLING)
    peak = fine.argmax(-1, keepdims=True)
    steps = np.arange(fine.shape[-1])
    sides = [
        _first_crossing(
            np.take_along_axis(fine, (peak + sign * steps) % fine.shape[-1], axis=-1), level
        )
        for sign in (1, -1)
    ]
    width = np.mean(sides, axis=0) * period / (count * OVERSAMPLING)
    return np.where(defined, width, np.nan)


def _first_crossing(falling: np.ndarray, level: float) -> np.ndarray:
    """Where (..., step), which starts at its peak, first reaches level x peak; NaN if never."""
    threshold = level * falling[..., :1]
    below = falling <= threshold
    after = np.maximum(below.argmax(-1), 1)[..., None]
    high = np.take_along_axis(falling, after - 1, axis=-1)
    low = np.take_along_axis(falling, after, axis=-1)
    drop = high - low
    share = np.divide(high - threshold, drop, out=np.zeros_like(drop), where=drop > 0)
    return np.where(below.any(-1), (after - 1 + share)[..., 0], np.nan)
