"""Selectivity: one number for how much a unit cares."""

import numpy as np
import xarray as xr

from ephys.tuning import blockwise, check_circle


def gosi(curve: xr.DataArray, dim: str = "orientation") -> xr.DataArray:
    r"""Global orientation selectivity index, one minus the circular variance.

    .. math:: \left| \sum_\theta R(\theta) e^{2 i \theta} \right| / \sum_\theta R(\theta)

    0 for an untuned unit, 1 for one that answers a single orientation.

    Parameters
    ----------
    curve : responses of at least 0, with ``dim`` evenly over 180 degrees.

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
    check_circle(curve[dim], 180.0)
    angles = np.deg2rad(curve[dim])
    index = blockwise(_resultant_length, curve, angles, core=[[dim], [dim]], kwargs={"harmonic": 2})
    return index.assign_attrs(long_name="global orientation selectivity index", units="1")


def _resultant_length(weights: np.ndarray, angles: np.ndarray, *, harmonic: int) -> np.ndarray:
    """Length of the mean resultant vector along the last axis; angles in radians."""
    total = weights.sum(-1)
    length = np.abs((weights * np.exp(1j * harmonic * angles)).sum(-1))
    defined = (total > 0) & (weights.min(-1) >= 0)
    return np.divide(length, total, out=np.full(total.shape, np.nan), where=defined)
