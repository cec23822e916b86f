"""Fits: the few numbers that describe a measured receptive field."""

import math

import numpy as np
import xarray as xr

from ephys.shapes import Gabor, Gaussian, Shape
from ephys.solver import least_squares
from ephys.tuning import blockwise

CHUNK_PIXELS = 2**20  # of maps at a time, which bounds the memory

DESCRIPTIONS = {  # of what the fits give, with units; "" for those of the map
    "center_x": ("centre, to the right", "degree"),
    "center_y": ("centre, upward", "degree"),
    "orientation": ("orientation", "degree"),
    "spatial_frequency": ("spatial frequency", "cycles degree-1"),
    "phase": ("phase at the centre", "degree"),
    "sd_major": ("s.d. along the major axis", "degree"),
    "sd_minor": ("s.d. along the minor axis", "degree"),
    "sd_along": ("s.d. of the envelope along the bars", "degree"),
    "sd_across": ("s.d. of the envelope across the bars", "degree"),
    "aspect": ("s.d. along the bars over s.d. across", "1"),
    "amplitude": ("amplitude", ""),
    "baseline": ("baseline", ""),
    "r_squared": ("share of the variance that the fit explains", "1"),
    "at_bound": ("the search ended at a bound, so parameters are not the unit's", "1"),
    "converged": ("no step improves the fit", "1"),
}
PERIODS = {"orientation": 180.0, "phase": 360.0}  # degrees
FLAGS = ("at_bound", "converged")


def fit_gabor(maps: xr.DataArray) -> xr.Dataset:
    r"""Fit a Gabor function to every map by least squares.

    .. math::

        b + A \, e^{-s^2 / (2 \sigma_s^2) - u^2 / (2 \sigma_u^2)} \cos(2 \pi f u + \phi)

    where :math:`s = (x - x_0) \cos\theta + (y - y_0) \sin\theta` runs along the bars and
    :math:`u = (y - y_0) \cos\theta - (x - x_0) \sin\theta` across them.

    A field of less than about half a cycle has no frequency and phase to speak of, whatever the
    fit says: that is where ``sd_across * spatial_frequency`` is below 0.1.

    Parameters
    ----------
    maps : with the dimensions ``y`` and ``x``, evenly spaced, in degrees, and any others. Pixels
        that are not finite are left out.

    Returns
    -------
    Without ``y`` and ``x``: ``center_x``, ``center_y`` (degrees, within the map); ``orientation``
    of the bars (degrees counter-clockwise from horizontal, 0 to 180); ``spatial_frequency``
    (cycles per degree, from half a cycle across the map to the Nyquist limit); ``phase`` of the
    cosine at the centre (degrees, 0 to 360); ``sd_along`` and ``sd_across`` (degrees, from a
    quarter of a pixel to four sides of the map), and ``aspect``, the first over the second;
    ``amplitude``, above 0, and ``baseline``, in the map's units; ``r_squared``; ``at_bound``, for
    a search that ended at the edge of one of these ranges, so that the edge and not the map
    decided; and ``converged``. All are NaN, and nothing converged or at a bound, for a map that is
    flat or has fewer pixels than the function has parameters.

    Raises
    ------
    ValueError : for maps whose pixels are not evenly spaced.

    References
    ----------
    Jones & Palmer (1987), Journal of Neurophysiology 58:1233.
    Ringach (2002), Journal of Neurophysiology 88:455.
    """
    formula = (
        "baseline + amplitude exp(-s^2 / 2 sd_along^2 - u^2 / 2 sd_across^2) cos(2 pi f u + p)"
    )
    return _fit(maps, Gabor).assign_attrs(formula=formula)


def fit_gaussian(maps: xr.DataArray) -> xr.Dataset:
    r"""Fit a two-dimensional Gaussian to every map by least squares.

    .. math:: b + A \, e^{-s^2 / (2 \sigma_1^2) - u^2 / (2 \sigma_2^2)}

    where s and u run along the major and the minor axis, as in :func:`fit_gabor` along the bars
    and across.

    Parameters
    ----------
    maps : as :func:`fit_gabor` takes them.

    Returns
    -------
    Without ``y`` and ``x``: ``center_x``, ``center_y`` (degrees, within the map); ``sd_major`` and
    ``sd_minor`` (degrees); ``orientation`` of the major axis (degrees counter-clockwise from
    horizontal, 0 to 180), which means nothing where the two are alike; ``amplitude``, below 0
    where the map has a trough, and ``baseline``, in the map's units; ``r_squared``,
    ``at_bound`` and ``converged``. NaN as in :func:`fit_gabor`.

    Raises
    ------
    ValueError : for maps whose pixels are not evenly spaced.
    """
    formula = "baseline + amplitude exp(-s^2 / 2 sd_major^2 - u^2 / 2 sd_minor^2)"
    return _fit(maps, Gaussian).assign_attrs(formula=formula)


def _fit(maps: xr.DataArray, family: type[Shape]) -> xr.Dataset:
    for name in ("y", "x"):
        steps = np.diff(_positions(maps, name))
        if not (steps.size and steps[0] and np.allclose(steps, steps[0], rtol=1e-6, atol=0)):
            raise ValueError(
                f"{name}={maps[name].values.tolist()} is not evenly spaced over two pixels or more"
            )
    shape = family(maps["x"].values, maps["y"].values)
    names = [*shape.describe(np.full((1, len(shape.lower)), np.nan)), "r_squared", *FLAGS]
    fitted = blockwise(
        _fit_values,
        maps,
        core=[["y", "x"]],
        out=[()] * len(names),
        dtypes=[bool if name in FLAGS else float for name in names],
        kwargs={"shape": shape},
    )
    found = {}
    for name, values in zip(names, fitted, strict=True):
        long_name, measure = DESCRIPTIONS[name]
        values.attrs = {"long_name": long_name, "units": measure or maps.attrs.get("units", "1")}
        if name in PERIODS:
            values.attrs["period"] = PERIODS[name]
        found[name] = values
    return xr.Dataset(found)


def _fit_values(maps: np.ndarray, *, shape: Shape) -> tuple[np.ndarray, ...]:
    """Kernel of the fits: (..., y, x) to an array (...) for each of the measures."""
    outer, pixels = maps.shape[:-2], maps.shape[-2] * maps.shape[-1]
    values = maps.reshape(math.prod(outer), *maps.shape[-2:]).astype(float)
    present = np.isfinite(values)
    mean = np.where(present, values, 0).sum((1, 2)) / np.maximum(present.sum((1, 2)), 1)
    centered = np.where(present, values - mean[:, None, None], 0)
    total = (centered**2).sum((1, 2))
    tuned = np.flatnonzero(
        np.where(present, values, -np.inf).max((1, 2))
        > np.where(present, values, np.inf).min((1, 2))
    )
    parameters = np.full((len(values), len(shape.lower)), np.nan)
    r_squared, converged = np.full(len(values), np.nan), np.zeros(len(values), bool)
    step = max(1, CHUNK_PIXELS // pixels)
    for first in range(0, len(tuned), step):
        rows = tuned[first : first + step]
        solution = least_squares(
            shape.model,
            shape.jacobian,
            shape.starts(centered[rows]),
            values[rows].reshape(len(rows), -1),
            lower=shape.lower,
            upper=shape.upper,
            linear=shape.linear,
        )
        parameters[rows], converged[rows] = solution.parameters, solution.converged
        r_squared[rows] = 1 - solution.sse / total[rows]
    at_bound = ((parameters <= shape.lower) | (parameters >= shape.upper)).any(1)
    found = [*shape.describe(parameters).values(), r_squared, at_bound, converged]
    return tuple(np.reshape(result, outer) for result in found)


def _positions(maps: xr.DataArray, name: str) -> np.ndarray:
    if name not in maps.coords:
        raise KeyError(
            f"the maps have no coordinate {name!r}, which says in degrees where pixels are"
        )
    return maps[name].values
