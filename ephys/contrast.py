"""Contrast: does orientation tuning survive a change of it?"""

from typing import Any

import numpy as np
import xarray as xr

from ephys.selectivity import gosi
from ephys.tuning import blockwise, half_width

LEAST_SELECTIVE = 0.1  # gOSI of a curve below which no orientation is preferred to speak of


def contrast_invariance(
    curves: xr.DataArray, *, dim: str = "orientation", by: str = "contrast"
) -> xr.Dataset:
    r"""Width, selectivity and amplitude of tuning against contrast, each for itself.

    A response that only scales with contrast keeps its width and its selectivity and is separable,
    whatever its amplitude does; so the three are never mixed into one index.

    For each curve: ``width`` (half-width at half height, degrees), ``selectivity`` (gOSI) and
    ``amplitude`` (the peak), all ``(unit, contrast)``. For each unit:

    * ``width_slope``, ``selectivity_slope``: least-squares slope against log2 contrast, so per
      doubling of contrast; 0 is invariant.
    * ``amplitude_slope``: slope of log2 amplitude against log2 contrast, the exponent of the
      contrast response: 1 for a linear unit, 0 for one that ignores contrast.
    * ``width_ratio``, ``selectivity_ratio``, ``amplitude_ratio``: value at the highest contrast
      over value at the lowest.
    * ``separability``: the share of the first singular value,
      :math:`s_1^2 / \sum_i s_i^2`, of the orientation x contrast matrix: 1 if every contrast
      gives the same curve up to a factor. The contrasts of the largest responses weigh most: near
      1 does not mean that the curves of small responses have the same shape.
    * ``preferred_shift``: how far contrast turns the preferred orientation, degrees, 0 to 90: the
      largest difference around the circle, over contrasts, from that at the highest. Preferred is
      the direction of the mean vector, :math:`\arg(\sum_\theta R(\theta) e^{2 i \theta}) / 2`,
      which a constant added to the curve does not turn. Curves with a selectivity below 0.1 prefer
      nothing to speak of, and are left out. Width and selectivity do not see such a shift.

    Parameters
    ----------
    curves : responses of at least 0 with ``dim`` evenly around the circle and at least two
        contrasts above 0; more dimensions are welcome. What is rounding should be the blank's
        response, or flat, as from :func:`ephys.tables.orientation_curves`.

    Returns
    -------
    What is undefined is NaN: width and selectivity of a curve without response, ratios to such a
    contrast or to a selectivity of 0, and slopes and shifts through fewer than two contrasts.
    Contrasts without a response are left out of the slopes. The selectivity of a flat curve is 0,
    without what its sums round to.

    Raises
    ------
    ValueError : for fewer than two contrasts, or one that is not above 0.
    """
    contrasts = curves[by].values
    if len(contrasts) < 2 or not (contrasts > 0).all():
        raise ValueError(f"{by}={contrasts.tolist()}; invariance needs two or more above 0")
    amplitude = curves.max(dim, skipna=False)
    responding = amplitude > 0
    selectivity = gosi(curves, dim)
    rounding = curves.sizes[dim] * np.finfo(float).eps  # of the sums that it is made of
    by_contrast = {
        "width": half_width(curves, dim),
        "selectivity": selectivity.where(~(selectivity <= rounding), 0),
        "amplitude": amplitude.assign_attrs(long_name="peak response", units="1"),
    }
    log_contrast = np.log2(curves[by])
    straight: dict[str, Any] = {
        "width": by_contrast["width"],
        "selectivity": by_contrast["selectivity"],
        "amplitude": np.log2(amplitude.where(responding)),
    }
    units = {"width": "degree", "selectivity": "1", "amplitude": "1"}
    result = xr.Dataset(by_contrast)
    for name, values in straight.items():
        slope = blockwise(_slope, log_contrast, values, core=[[by], [by]])
        result[f"{name}_slope"] = slope.assign_attrs(
            long_name=f"slope of {name} per doubling of contrast", units=units[name]
        )
        low, high = (by_contrast[name].sel({by: end}) for end in (min(contrasts), max(contrasts)))
        ratio = (high / low.where(low > 0)).drop_vars(by, errors="ignore")
        result[f"{name}_ratio"] = ratio.assign_attrs(
            long_name=f"{name}, highest over lowest contrast", units="1"
        )
    result["separability"] = blockwise(_first_share, curves, core=[[dim, by]]).assign_attrs(
        long_name="separability of orientation and contrast", units="1"
    )
    turned = blockwise(
        _largest_turn,
        curves,
        result["selectivity"],
        core=[[by, dim], [by]],
        kwargs={"angles": np.deg2rad(curves[dim].values), "order": np.argsort(contrasts)},
    )
    result["preferred_shift"] = turned.assign_attrs(
        long_name=f"largest shift of the preferred {dim} from the highest contrast", units="degree"
    )
    return result


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of y (..., n) on x (n,), over the points where y is finite."""
    finite = np.isfinite(y)
    count = finite.sum(-1)
    x = np.broadcast_to(x, y.shape)
    enough = count >= 2
    safe = np.maximum(count, 1)[..., None]
    dx = np.where(finite, x - np.where(finite, x, 0).sum(-1, keepdims=True) / safe, 0)
    dy = np.where(finite, y, 0)
    spread = (dx**2).sum(-1)
    return np.divide(
        (dx * dy).sum(-1), spread, out=np.full(spread.shape, np.nan), where=enough & (spread > 0)
    )


def _largest_turn(
    curves: np.ndarray, selectivity: np.ndarray, *, angles: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Kernel of ``preferred_shift``: (..., contrast, angle), put into order, to degrees (...)."""
    vector = (curves * np.exp(2j * angles)).sum(-1)[..., order]
    tuned = (selectivity >= LEAST_SELECTIVE)[..., order]
    last = tuned.shape[-1] - 1 - tuned[..., ::-1].argmax(-1)[..., None]
    turned = np.angle(vector * np.take_along_axis(vector, last, -1).conj())  # of twice the angle
    largest = np.where(tuned, np.abs(turned), 0).max(-1)
    return np.where(tuned.sum(-1) >= 2, np.rad2deg(largest) / 2, np.nan)


def _first_share(matrices: np.ndarray) -> np.ndarray:
    """s_1^2 / sum of s_i^2 of (..., m, n); NaN for a matrix of zeros or with a NaN in it."""
    finite = np.isfinite(matrices).all((-2, -1))
    squares = np.linalg.svd(np.where(finite[..., None, None], matrices, 0), compute_uv=False) ** 2
    total = squares.sum(-1)
    defined = finite & (total > 0)
    return np.divide(squares[..., 0], total, out=np.full(total.shape, np.nan), where=defined)
