"""Selectivity: one number for how much a unit cares.

For the orientation of the bars, for the direction in which they move, and for one image among many.
All of these are of responses of at least 0, and NaN for others: the sums and differences of signed
responses leave the range of the index, and what they come to says nothing. Rectify first.
"""

import numpy as np
import xarray as xr

from ephys.tuning import blockwise, check_circle


def gosi(curve: xr.DataArray, dim: str = "orientation", *, period: float = 180.0) -> xr.DataArray:
    r"""Global orientation selectivity index, one minus the circular variance.

    .. math:: \left| \sum_\theta R(\theta) e^{2 i \theta} \right| / \sum_\theta R(\theta)

    0 for an untuned unit, 1 for one that answers a single orientation.

    Parameters
    ----------
    curve : responses of at least 0, with ``dim`` evenly around the circle.
    period : of ``dim``, degrees: 180 of an orientation, 360 of a direction of motion.

    Returns
    -------
    The array without ``dim``; NaN for a unit without any response, and for a curve that is
    negative somewhere, of which the index says nothing: rectify it first.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle.

    References
    ----------
    Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22:5639.
    """
    return _global_index(curve, dim, period, 2, "global orientation selectivity index")


def osi(curve: xr.DataArray, dim: str = "orientation", *, period: float = 180.0) -> xr.DataArray:
    r"""Orientation selectivity index: the preferred orientation against that at right angles.

    .. math:: (R_{pref} - R_{orth}) / (R_{pref} + R_{orth})

    where :math:`R_{orth}` is the mean of the responses 90 degrees to either side of the largest.
    Where no such orientation was shown, as of an odd number of them, it is interpolated linearly
    between its neighbours, and of several equally large responses the mean is taken.

    0 where the two are the same, 1 for a unit that does not answer at right angles. Unlike
    :func:`gosi` it does not tell a narrow curve from a broad one.

    Parameters
    ----------
    curve, period : as in :func:`gosi`.

    Returns
    -------
    The array without ``dim``; NaN as in :func:`gosi`.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle.

    References
    ----------
    Niell & Stryker (2008), Journal of Neuroscience 28:7520.
    """
    best, orthogonal = _best_and_turned(curve, dim, period, 90.0)
    index = (best - orthogonal) / (best + orthogonal)
    return index.assign_attrs(long_name="orientation selectivity index", units="1")


def orthogonal_ratio(
    curve: xr.DataArray, dim: str = "orientation", *, period: float = 180.0
) -> xr.DataArray:
    r"""Response at right angles to the preferred orientation, over that to the preferred.

    .. math:: R_{orth} / R_{pref} = (1 - OSI) / (1 + OSI)

    with both as in :func:`osi`: 1 for an untuned unit, 0 for a selective one.

    References
    ----------
    Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22:5639.
    """
    best, orthogonal = _best_and_turned(curve, dim, period, 90.0)
    ratio = orthogonal / best
    return ratio.assign_attrs(long_name="orthogonal over preferred response", units="1")


def gdsi(curve: xr.DataArray, dim: str = "direction") -> xr.DataArray:
    r"""Global direction selectivity index: the length of the mean resultant vector.

    .. math:: \left| \sum_\theta R(\theta) e^{i \theta} \right| / \sum_\theta R(\theta)

    0 for a unit that answers opposite directions alike, 1 for one that answers a single direction.

    Parameters
    ----------
    curve : responses of at least 0, with ``dim`` evenly over 360 degrees.

    Returns
    -------
    The array without ``dim``; NaN as in :func:`gosi`.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle.

    References
    ----------
    Mazurek, Kager & Van Hooser (2014), Frontiers in Neural Circuits 8:92.
    """
    return _global_index(curve, dim, 360.0, 1, "global direction selectivity index")


def dsi(curve: xr.DataArray, dim: str = "direction") -> xr.DataArray:
    r"""Direction selectivity index: the preferred direction against the opposite one.

    .. math:: (R_{pref} - R_{null}) / (R_{pref} + R_{null})

    The response to the opposite direction is interpolated, and averaged, as that at right angles
    in :func:`osi`. 0 where the two are the same, 1 for a unit that does not answer the opposite.

    Parameters
    ----------
    curve : responses of at least 0, with ``dim`` evenly over 360 degrees.

    Returns
    -------
    The array without ``dim``; NaN as in :func:`gosi`.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle.

    References
    ----------
    Niell & Stryker (2008), Journal of Neuroscience 28:7520.
    """
    best, null = _best_and_turned(curve, dim, 360.0, 180.0)
    index = (best - null) / (best + null)
    return index.assign_attrs(long_name="direction selectivity index", units="1")


def direction_index(curve: xr.DataArray, dim: str = "direction") -> xr.DataArray:
    r"""The other index of direction selectivity: one minus null over preferred.

    .. math:: 1 - R_{null} / R_{pref} = 2 DSI / (1 + DSI)

    with both as in :func:`dsi`, than which it is larger wherever neither is 0 or 1.

    References
    ----------
    Albright (1984), Journal of Neurophysiology 52:1106.
    """
    best, null = _best_and_turned(curve, dim, 360.0, 180.0)
    return (1 - null / best).assign_attrs(long_name="direction index", units="1")


def lifetime_sparseness(responses: xr.DataArray, dim: str = "stimulus") -> xr.DataArray:
    r"""How few of the stimuli a unit answers.

    .. math:: S = \frac{1 - \left( \sum_i r_i / n \right)^2 / \left( \sum_i r_i^2 / n \right)}
        {1 - 1 / n}

    0 where all n responses are the same, 1 for a unit that answers one stimulus.

    Parameters
    ----------
    responses : of at least 0, to two stimuli or more.

    Returns
    -------
    The array without ``dim``; NaN for a unit without any response, and for one of which a response
    is negative or missing.

    Raises
    ------
    ValueError : for a single stimulus.

    References
    ----------
    Vinje & Gallant (2000), Science 287:1273.
    """
    return _sparseness(responses, dim).assign_attrs(long_name="lifetime sparseness", units="1")


def population_sparseness(responses: xr.DataArray, dim: str = "unit") -> xr.DataArray:
    """How few of the units answer a stimulus: :func:`lifetime_sparseness` across units.

    It compares units with each other, so they should be on one scale: a unit of large responses
    makes every image sparse. Divide by the mean or the largest response of each unit
    (``responses / responses.max("stimulus")``) where the scale of a unit means nothing.

    This needs all units at once: of a dask array, as many stimuli are read as fit a block.

    References
    ----------
    Willmore & Tolhurst (2001), Network 12:255.
    """
    if responses.chunksizes:
        others = [name for name in responses.dims if name != dim]
        responses = responses.chunk({dim: -1, **dict.fromkeys(others, "auto")})
    return _sparseness(responses, dim).assign_attrs(long_name="population sparseness", units="1")


def rolls_tovee_sparseness(responses: xr.DataArray, dim: str = "stimulus") -> xr.DataArray:
    r"""The other sparseness, which is *small* for a selective unit.

    .. math:: a = \left( \sum_i r_i / n \right)^2 / \left( \sum_i r_i^2 / n \right)
        = 1 - S (1 - 1 / n)

    with S that of :func:`lifetime_sparseness`: 1 where all n responses are the same, 1 / n for a
    unit that answers one stimulus; the share of the stimuli that is answered, if these are answered
    alike.

    References
    ----------
    Rolls & Tovee (1995), Journal of Neurophysiology 73:713. Treves & Rolls (1991), Network 2:371.
    """
    share = blockwise(_answered_share, responses, core=[[dim]])
    return share.assign_attrs(long_name="sparseness of Rolls and Tovee", units="1")


def _global_index(
    curve: xr.DataArray, dim: str, period: float, harmonic: int, name: str
) -> xr.DataArray:
    check_circle(curve[dim], period)
    angles = np.deg2rad(curve[dim])
    index = blockwise(
        _resultant_length, curve, angles, core=[[dim], [dim]], kwargs={"harmonic": harmonic}
    )
    return index.assign_attrs(long_name=name, units="1")


def _resultant_length(weights: np.ndarray, angles: np.ndarray, *, harmonic: int) -> np.ndarray:
    """Length of the mean resultant vector along the last axis; angles in radians."""
    finite = np.isfinite(weights).all(-1)
    weights = np.where(finite[..., None], weights, 0)
    total = weights.sum(-1)
    length = np.abs((weights * np.exp(1j * harmonic * angles)).sum(-1))
    defined = (total > 0) & (weights.min(-1) >= 0)
    return np.divide(length, total, out=np.full(total.shape, np.nan), where=defined)


def _best_and_turned(
    curve: xr.DataArray, dim: str, period: float, turn: float
) -> tuple[xr.DataArray, xr.DataArray]:
    """The largest response, and the mean of those ``turn`` degrees to either side of it."""
    check_circle(curve[dim], period)
    steps = turn / period * curve.sizes[dim]
    best, turned = blockwise(
        _peak_and_turned,
        curve,
        core=[[dim]],
        out=[[], []],
        dtypes=[float, float],
        kwargs={"steps": steps},
    )
    return best, turned


def _peak_and_turned(curves: np.ndarray, *, steps: float) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``_best_and_turned``: (..., angle) to (...), twice."""
    defined = np.isfinite(curves).all(-1) & (curves.min(-1) >= 0) & (curves.max(-1) > 0)
    values = np.where(defined[..., None], curves, 1.0)
    sides = (_turned(values, steps) + _turned(values, -steps)) / 2
    peak = values.max(-1)
    at_peak = values == peak[..., None]
    away = (sides * at_peak).sum(-1) / at_peak.sum(-1)
    return np.where(defined, peak, np.nan), np.where(defined, away, np.nan)


def _turned(values: np.ndarray, steps: float) -> np.ndarray:
    """What lies so many steps further around the circle, between two points on a straight line."""
    whole = int(np.floor(steps))
    share = steps - whole
    near, far = np.roll(values, -whole, axis=-1), np.roll(values, -whole - 1, axis=-1)
    return (1 - share) * near + share * far


def _sparseness(responses: xr.DataArray, dim: str) -> xr.DataArray:
    count = responses.sizes[dim]
    if count < 2:
        raise ValueError(f"{dim}: sparseness is over two or more, not {count}")
    return (1 - blockwise(_answered_share, responses, core=[[dim]])) / (1 - 1 / count)


def _answered_share(responses: np.ndarray) -> np.ndarray:
    """Square of the mean over the mean square, along the last axis."""
    peak = responses.max(-1)
    defined = np.isfinite(responses).all(-1) & (responses.min(-1) >= 0) & (peak > 0)
    scale = np.where(defined, peak, 1)[..., None].astype(float)
    shares = np.where(defined[..., None], responses, 1) / scale  # at most 1: squares do not vanish
    return np.where(defined, shares.mean(-1) ** 2 / (shares**2).mean(-1), np.nan)
