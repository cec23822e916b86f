"""Fits of tuning curves: the functions that the field describes them by, for all units at once.

Curve in, parameters out: the named dimension is gone, every other one stays, and dask arrays stay
lazy. Points that are not finite are left out. Everything is NaN, and nothing converged, for a
curve that is flat or has fewer points than the function has parameters. In every fit there are

* ``r_squared``: one minus the squared residuals over the squared deviations from the curve's mean.
  Below 0 where the function, which may have no baseline, is worse than a straight line.
* ``sse``: the sum of the squared residuals.
* ``converged``: no step improves the fit.
* ``at_bound``: the search for where the curve lies, how wide or how steep it is, ended at the edge
  of where it was looked for, so that the edge and not the curve decided. A gain of 0 is no edge: it
  says that something is not there, and what would describe it is NaN.

Parameters of a fit that ended at a bound, or did not converge, are what the search ended with. They
draw the curve whose ``r_squared`` is reported, and do not describe the unit: leave them out of
means over units, by the flags. ``evaluate`` gives the fitted function at any points.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import erf

from ephys.curve_shapes import (
    FLAGS,
    DifferenceOfGaussians,
    Form,
    LogGaussian,
    NakaRushton,
    Normalization,
    RatioOfGaussians,
    Supersaturating,
    VonMises,
)
from ephys.separable import separable_least_squares
from ephys.tuning import blockwise

# Of what the fits give, with units: "curve" for those of the curve, "dim" for the dimension's.
DESCRIPTIONS = {
    "preferred": ("preferred {dim}", "dim"),
    "kappa": ("concentration", "1"),
    "half_width": ("half-width at half the amplitude", "degree"),
    "half_width_0707": ("half-width at 1/sqrt(2) of the amplitude", "degree"),
    "bandwidth": ("full width at half the amplitude", "octave"),
    "low_cut": ("lower {dim} at half the amplitude", "dim"),
    "high_cut": ("higher {dim} at half the amplitude", "dim"),
    "amplitude": ("amplitude", "curve"),
    "amplitude_null": ("amplitude of the opposite lobe", "curve"),
    "direction_index": ("difference of the two amplitudes over their sum", "1"),
    "r_max": ("response at saturation", "curve"),
    "r_max_mask": ("response to the mask at saturation", "curve"),
    "c50": ("semi-saturation contrast", "1"),
    "exponent": ("exponent of contrast", "1"),
    "saturation": ("exponent of supersaturation", "1"),
    "peak_contrast": ("contrast of the largest response", "1"),
    "extrapolated": ("c50 is beyond the contrasts that were shown", "1"),
    "center_size": ("size of the center", "dim"),
    "surround_size": ("size of the surround", "dim"),
    "center_gain": ("gain of the center", "curve"),
    "surround_gain": ("gain of the surround", "curve"),
    "summation_field": ("diameter at 0.95 of the peak", "dim"),
    "suppression_index": ("peak minus largest diameter over peak", "1"),
    "baseline": ("baseline", "curve"),
    "r_squared": ("share of the variance that the fit explains", "1"),
    "sse": ("sum of the squared residuals", "1"),
    "at_bound": ("the search ended at a bound, so parameters are not the unit's", "1"),
    "converged": ("no step improves the fit", "1"),
}


def fit_von_mises(
    curve: xr.DataArray,
    dim: str = "orientation",
    *,
    lobes: Literal[1, 2] = 1,
    period: float = 180.0,
) -> xr.Dataset:
    r"""Fit a von Mises function to tuning for orientation, or two lobes to tuning for direction.

    .. math:: b + A \, e^{\kappa (\cos(2\pi (\theta - \theta_0) / p) - 1)}

    with p the ``period``, so :math:`\cos 2(\theta - \theta_0)` of orientations. With two lobes,
    :math:`A_0 \, e^{\kappa (\cos(2\pi (\theta - \theta_0) / p + \pi) - 1)}` is added, of the same
    width, half a circle away. Amplitudes are at least 0.

    Parameters
    ----------
    curve : with ``dim`` in degrees, anywhere on the circle but each angle once.
    lobes : 1; or 2, for directions with ``period=360``.
    period : of ``dim``, degrees.

    Returns
    -------
    ``preferred`` (degrees, from 0 to below ``period``): where the larger lobe peaks. ``kappa``,
    from 0.1 to where the full width at half height is half a step between angles. ``half_width``
    and ``half_width_0707`` (degrees): from the peak to where a lobe has fallen to a half, and to
    1 / sqrt(2), of its amplitude, which is counted from the baseline;

    .. math:: \frac{p}{2 \pi} \arccos(1 + \ln(\text{level}) / \kappa)

    and NaN for a lobe so flat that it never does. ``amplitude`` and ``baseline``. With two lobes,
    ``amplitude_null`` of the smaller, and ``direction_index``, the difference of the amplitudes
    over their sum: 0 for none, 1 for one direction alone. Then what every fit gives.

    Raises
    ------
    ValueError : for angles that do not lie within one period, or are fewer than the parameters.

    References
    ----------
    Swindale (1998), Biological Cybernetics 78:45.
    """
    if lobes not in (1, 2):
        raise ValueError(f"lobes={lobes} is neither 1 nor 2")
    angles = _points(curve, dim)
    if not np.ptp(angles) < period * (1 - 1e-9):
        raise ValueError(
            f"{dim} runs {angles.min():g} to {angles.max():g} degrees, which is not within one "
            f"circle of period={period:g}, each angle once; say period=360 for directions"
        )
    _check_count(dim, angles, 3 + lobes)
    fit = _fit(curve, [dim], VonMises(angles, period, lobes))
    return fit.assign_attrs(period=period)


def fit_log_gaussian(
    curve: xr.DataArray, dim: str = "spatial_frequency", *, baseline: bool = False
) -> xr.Dataset:
    r"""Fit a Gaussian of the logarithm of frequency.

    .. math:: b + A \, e^{-\log_2(f / f_0)^2 / (2 \sigma^2)}

    Frequencies of 0 have no logarithm: those points are left out, whatever the response to them.

    Parameters
    ----------
    curve : with ``dim``, at least 0.
    baseline : fit b too; without, b is 0, and what is not tuned should be subtracted before.

    Returns
    -------
    ``preferred``, within the frequencies that were shown: at their edge (``at_bound``) for a low-
    or high-pass curve. ``bandwidth`` (octaves): full width at half the amplitude, from half the
    smallest step between frequencies to four times their range. ``low_cut`` and ``high_cut``:
    where the curve has fallen to half its amplitude, NaN outside the frequencies that were shown.
    ``amplitude``, at least 0, and ``baseline`` if it was fitted. Then what every fit gives.

    Raises
    ------
    ValueError : for a frequency below 0, or fewer above 0 than there are parameters.
    """
    frequencies = _points(curve, dim, low=0)
    shown = frequencies > 0
    _check_count(dim, frequencies[shown], 3 + baseline)
    return _fit(curve.isel({dim: shown}), [dim], LogGaussian(frequencies[shown], baseline))


def fit_naka_rushton(curve: xr.DataArray, dim: str = "contrast") -> xr.Dataset:
    r"""Fit the hyperbolic ratio function to a response against contrast.

    .. math:: R_{max} \frac{c^n}{c_{50}^n + c^n} + b

    Parameters
    ----------
    curve : with ``dim`` in 0 to 1.

    Returns
    -------
    ``r_max`` above the baseline, below 0 where contrast suppresses; ``c50``, from a tenth of the
    lowest contrast above 0 to ten times the highest; ``exponent``, from 0.1 to 20; ``baseline``;
    and what every fit gives. Where c50 is beyond the contrasts that were shown it is an
    extrapolation, and so is r_max, a response that was not seen: ``extrapolated``.

    Raises
    ------
    ValueError : for contrasts outside 0 to 1, or fewer than there are parameters.

    References
    ----------
    Albrecht & Hamilton (1982), Journal of Neurophysiology 48:217.
    """
    contrasts = _points(curve, dim, low=0, high=1)
    _check_count(dim, contrasts, 4)
    return _fit(curve, [dim], NakaRushton(contrasts))


def fit_supersaturating(curve: xr.DataArray, dim: str = "contrast") -> xr.Dataset:
    r"""Fit a function of contrast that may fall again at high contrast.

    .. math:: R_{max} \frac{c^n}{c_{50}^{s n} + c^{s n}} + b

    With s = 1 this is that of :func:`fit_naka_rushton`. Otherwise neither does the response
    saturate at r_max nor is c50 the contrast of half of it.

    Parameters
    ----------
    curve : with ``dim`` in 0 to 1.

    Returns
    -------
    As :func:`fit_naka_rushton`, and ``saturation``, s, from 0.5 to 4: above 1 the response falls
    again. ``peak_contrast``: where it is largest, NaN unless at or below the highest contrast.

    Raises
    ------
    ValueError : for contrasts outside 0 to 1, or fewer than there are parameters.

    References
    ----------
    Peirce (2007), Journal of Vision 7(6):13.
    """
    contrasts = _points(curve, dim, low=0, high=1)
    _check_count(dim, contrasts, 5)
    return _fit(curve, [dim], Supersaturating(contrasts))


def fit_difference_of_gaussians(
    curve: xr.DataArray, dim: str = "diameter", *, baseline: bool = False
) -> xr.Dataset:
    r"""Fit a center minus a surround, each the integral of a Gaussian, to tuning for size.

    .. math:: K_c \, \mathrm{erf}(d / w_c) - K_s \, \mathrm{erf}(d / w_s) + b

    which is :math:`k_c \int_{-d/2}^{d/2} e^{-(2 y / w_c)^2} dy` minus the same of the surround,
    with :math:`K = k w \sqrt\pi / 2`: gains are the responses that either would reach.

    Parameters
    ----------
    curve : with ``dim`` in degrees, at least 0.
    baseline : fit b too; without, b is 0, and the response to the blank should be subtracted
        before.

    Returns
    -------
    ``center_size`` and ``surround_size``, w (degrees): the center from a quarter of the smallest
    diameter above 0 to twice the largest, the surround 1.1 to 32 times as large.
    ``center_gain`` and ``surround_gain``, K, at least 0. ``suppression_index``: how far the fitted
    response has fallen from its peak at the largest diameter that was shown, over the peak, both
    above the baseline; 0 for a response that only grows. ``summation_field``: the smallest diameter
    with 0.95 of the peak. Both are NaN if the response never rises above the baseline. Nothing is
    said of larger diameters than were shown. ``baseline`` if it was fitted, and what every fit
    gives. The size of a surround of gain 0 is NaN.

    Raises
    ------
    ValueError : for a diameter below 0, or fewer above 0 than there are parameters.

    References
    ----------
    DeAngelis, Freeman & Ohzawa (1994), Journal of Neurophysiology 71:347.
    Sceniak, Ringach, Hawken & Shapley (1999), Nature Neuroscience 2:733.
    """
    diameters = _points(curve, dim, low=0)
    _check_count(dim, diameters[diameters > 0], 4 + baseline)
    return _fit(curve, [dim], DifferenceOfGaussians(diameters, baseline))


def fit_ratio_of_gaussians(
    curve: xr.DataArray, dim: str = "diameter", *, baseline: bool = False
) -> xr.Dataset:
    r"""Fit a center divided by a surround, each the integral of a Gaussian, to tuning for size.

    .. math:: \frac{k_c L_c(d)}{1 + k_s L_s(d)} + b, \quad L(d) = \mathrm{erf}(d / w)^2

    Parameters
    ----------
    curve, baseline : as :func:`fit_difference_of_gaussians` takes them.

    Returns
    -------
    As :func:`fit_difference_of_gaussians`, with ``center_gain`` and ``surround_gain``
    :math:`k_c` and :math:`k_s`, the second without units and from 0.001 to 1000. A surround of
    0.001, which divides by next to nothing, is none: its size is NaN, and neither is
    ``at_bound``. A surround of any larger gain, however weak, is so if its size is at an edge.

    Raises
    ------
    ValueError : for a diameter below 0, or fewer above 0 than there are parameters.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88:2530; with
    :math:`w^2` taken into k, so that L goes to 1.
    """
    diameters = _points(curve, dim, low=0)
    _check_count(dim, diameters[diameters > 0], 4 + baseline)
    fit = _fit(curve, [dim], RatioOfGaussians(diameters, baseline))
    fit["surround_gain"].attrs["units"] = "1"
    return fit


def fit_normalization(
    table: xr.DataArray, dims: tuple[str, str] = ("contrast", "mask_contrast")
) -> xr.Dataset:
    r"""Fit the normalization model to responses to plaids, of all contrasts of two gratings.

    .. math:: \frac{R c^n + R_m c_m^n}{c_{50}^n + c_{rms}^n} + b, \quad
        c_{rms} = \sqrt{c^2 + c_m^2}

    Each grating drives the unit by its own contrast, and all contrast there is divides it. It is
    the model that Busse et al. have of a population,

    .. math:: R_{max} \frac{\sum_k c_k^n G(\theta - \theta_k)}{c_{50}^n + c_{rms}^n}

    for the gratings k of a plaid, read at one unit: :math:`R = R_{max} G(\theta - \theta_1)` and
    :math:`R_m = R_{max} G(\theta - \theta_2)` for how well its tuning G suits either grating, here
    without a model of the tuning. The baseline b is added to it. Of one grating alone this is the
    function of :func:`fit_naka_rushton`. Cross-orientation suppression is :math:`R_m` near 0;
    between :math:`R` and 0 lies a weighted average, which n makes a competition that the higher
    contrast wins.

    Parameters
    ----------
    table : with both ``dims`` in 0 to 1, the contrasts of the first grating and of the second.

    Returns
    -------
    ``r_max`` and ``r_max_mask``, R and :math:`R_m`, of either sign; ``c50``, ``exponent``,
    ``extrapolated`` and ``baseline`` as in :func:`fit_naka_rushton`, with the contrasts of plaids;
    and what every fit gives.

    Raises
    ------
    ValueError : for contrasts outside 0 to 1, or fewer conditions than there are parameters.

    References
    ----------
    Busse, Wade & Carandini (2009), Neuron 64:931.
    Carandini & Heeger (2012), Nature Reviews Neuroscience 13:51.
    """
    first, second = (_points(table, dim, low=0, high=1) for dim in dims)
    contrasts, masks = (values.ravel() for values in np.meshgrid(first, second, indexing="ij"))
    _check_count(" x ".join(dims), np.hypot(contrasts, masks), 5)
    return _fit(table, dims, Normalization(contrasts, masks))


def evaluate(fit: xr.Dataset, *points: ArrayLike) -> xr.DataArray:
    """The fitted function at any points.

    Parameters
    ----------
    fit : of one of the functions above, or some units of it, with its attributes.
    points : of the dimension that was fitted; of the normalization model those of both.

    Returns
    -------
    Along the dimensions of the fit, then those that were fitted. NaN for a unit that was not
    fitted. A ratio of Gaussians without a surround is divided by nothing, instead of by 1.001 at
    most.

    Raises
    ------
    KeyError : for a fit that does not say of which function it is.
    ValueError : for more dimensions of points than were fitted, or fewer.

    Examples
    --------
    >>> fit = fit_naka_rushton(curve)  # doctest: +SKIP
    >>> evaluate(fit, np.linspace(0, 1))  # doctest: +SKIP
    """
    name = fit.attrs.get("function")
    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise KeyError(f"the attribute function={name!r} of the fit is none of {known}; keep attrs")
    dims = fit.attrs["dims"].split()
    if len(points) != len(dims):
        raise ValueError(
            f"points of {len(points)} dimensions, but the fit is along {' x '.join(dims)}"
        )
    axes = [
        xr.DataArray(np.asarray(values, float), dims=dim, name=dim)
        for dim, values in zip(dims, points, strict=True)
    ]
    axes = [axis.assign_coords({dim: axis}) for dim, axis in zip(dims, axes, strict=True)]
    value = FUNCTIONS[name](fit, *axes)
    if "baseline" in fit:
        value = value + fit["baseline"]
    return value.transpose(..., *dims)


def _von_mises(fit: xr.Dataset, angle: xr.DataArray) -> xr.DataArray:
    turn = 2 * np.pi * (angle - fit["preferred"]) / fit.attrs["period"]
    value = _times(fit["amplitude"], np.exp(fit["kappa"] * (np.cos(turn) - 1)))
    if "amplitude_null" in fit:
        value = value + _times(fit["amplitude_null"], np.exp(fit["kappa"] * (-np.cos(turn) - 1)))
    return value


def _log_gaussian(fit: xr.Dataset, frequency: xr.DataArray) -> xr.DataArray:
    with np.errstate(divide="ignore"):  # a frequency of 0, where the function is 0
        away = (np.log2(frequency) - np.log2(fit["preferred"])) / fit["bandwidth"]
    return _times(fit["amplitude"], np.exp(-4 * np.log(2) * away**2))


def _hyperbolic(fit: xr.Dataset, contrast: xr.DataArray) -> xr.DataArray:
    """Naka-Rushton and supersaturating, in logarithms, which do not overflow."""
    exponent, saturation = fit["exponent"], fit.get("saturation", 1.0)
    with np.errstate(divide="ignore"):  # a contrast of 0, where the function is 0
        drive = exponent * np.log(contrast)
    pool = np.logaddexp(saturation * exponent * np.log(fit["c50"]), saturation * drive)
    return _times(fit["r_max"], np.exp(drive - pool))


def _normalization(fit: xr.Dataset, contrast: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    exponent = fit["exponent"]
    with np.errstate(divide="ignore"):
        first, second, both = (
            exponent * np.log(c) for c in (contrast, mask, np.hypot(contrast, mask))
        )
    pool = np.logaddexp(exponent * np.log(fit["c50"]), both)
    return _times(fit["r_max"], np.exp(first - pool)) + _times(
        fit["r_max_mask"], np.exp(second - pool)
    )


def _difference_of_gaussians(fit: xr.Dataset, diameter: xr.DataArray) -> xr.DataArray:
    center = _times(fit["center_gain"], erf(diameter / fit["center_size"]))
    return center - _times(fit["surround_gain"], erf(diameter / fit["surround_size"]))


def _ratio_of_gaussians(fit: xr.Dataset, diameter: xr.DataArray) -> xr.DataArray:
    center = _times(fit["center_gain"], erf(diameter / fit["center_size"]) ** 2)
    return center / (
        1 + (fit["surround_gain"] * erf(diameter / fit["surround_size"]) ** 2).fillna(0)
    )


FUNCTIONS: dict[str, Callable[..., xr.DataArray]] = {
    "von_mises": _von_mises,
    "log_gaussian": _log_gaussian,
    "naka_rushton": _hyperbolic,
    "supersaturating": _hyperbolic,
    "difference_of_gaussians": _difference_of_gaussians,
    "ratio_of_gaussians": _ratio_of_gaussians,
    "normalization": _normalization,
}


def _times(gain: xr.DataArray, value: Any) -> xr.DataArray:
    """0 where the gain is, whatever else is not known of what is not there."""
    product: xr.DataArray = gain * value.where(gain != 0, 0)
    return product


def _fit(curve: xr.DataArray, dims: Sequence[str], form: Form) -> xr.Dataset:
    measures = [*form.measures, *(["baseline"] if form.baseline else []), "r_squared", "sse"]
    measures += ["at_bound", "converged"]
    fitted = blockwise(
        _fit_values,
        curve,
        core=[list(dims)],
        out=[()] * len(measures),
        dtypes=[bool if name in FLAGS else float for name in measures],
        kwargs={"form": form, "measures": measures, "core": len(dims)},
    )
    measured = {
        "curve": curve.attrs.get("units", "1"),
        "dim": curve[dims[0]].attrs.get("units", "1"),
    }
    result = {}
    for name, values in zip(measures, fitted, strict=True):
        long_name, units = DESCRIPTIONS[name]
        values.attrs = {
            "long_name": long_name.format(dim=dims[0]),
            "units": measured.get(units, units),
        }
        result[name] = values
    return xr.Dataset(result, attrs={"function": form.function, "dims": " ".join(dims)})


def _fit_values(
    curves: np.ndarray, *, form: Form, measures: Sequence[str], core: int
) -> tuple[np.ndarray, ...]:
    """Kernel of the fits: (..., point) to an array (...) for each of the measures."""
    outer, inner = curves.shape[:-core], curves.shape[-core:]
    values = curves.reshape(math.prod(outer), math.prod(inner)).astype(float)
    present = np.isfinite(values)
    highest = np.where(present, values, -np.inf).max(1)
    tuned = np.flatnonzero(highest > np.where(present, values, np.inf).min(1))
    data, present = values[tuned], present[tuned]
    solution = separable_least_squares(form, data)
    linear = form.gains + form.baseline
    gains, shape = solution.parameters.T[: form.gains], solution.parameters.T[linear:]
    mean = np.where(present, data, 0).sum(1) / present.sum(1)
    deviations = np.where(present, data - mean[:, None], 0)
    found = {
        **form.describe(gains, shape),
        "baseline": solution.parameters[:, linear - 1],
        "r_squared": 1 - solution.sse / (deviations**2).sum(1),
        "sse": solution.sse,
        "at_bound": form.at_bound(gains, shape),
        "converged": solution.converged,
    }
    results = []
    for name in measures:
        every = np.zeros(len(values), bool) if name in FLAGS else np.full(len(values), np.nan)
        every[tuned] = found[name]
        results.append(every.reshape(outer))
    return tuple(results)


def _points(
    curve: xr.DataArray, dim: str, *, low: float = -np.inf, high: float = np.inf
) -> np.ndarray:
    """The positions of the points along a dimension."""
    if dim not in curve.coords:
        raise KeyError(f"the curve has no coordinate {dim!r}, which says where its points are")
    points = curve[dim].values.astype(float)
    wrong = points[~((points >= low) & (points <= high) & np.isfinite(points))]
    if wrong.size:
        raise ValueError(f"{dim}={wrong[0]:g} is not in {low:g} to {high:g}")
    return points


def _check_count(dim: str, points: np.ndarray, parameters: int) -> None:
    shown = len(np.unique(points))
    if shown < parameters:
        raise ValueError(
            f"{dim} has {shown} values that can be fitted, and the function {parameters} "
            "parameters; show more of them"
        )
