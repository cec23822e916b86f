"""Color tuning: which hue, how narrowly, from which cones, and how much more than luminance.

Hue goes around a circle of 360 degrees: ``azimuth`` in the isoluminant plane of DKL space, ``hue``
in HSL and HSV. A curve over it is of responses above those to the background in its middle
(``curve - curve["blank"]``), and so may be negative.
"""

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from ephys.tuning import OVERSAMPLING, blockwise, check_circle


def resultant_hue(curve: xr.DataArray, dim: str = "azimuth") -> xr.DataArray:
    r"""Preferred hue: the direction of the vector sum of all responses.

    .. math:: \arg \sum_\theta R(\theta) e^{i \theta}

    That of a cosine is where it peaks, on whatever baseline. ``tuning.preferred`` gives the other
    preferred hue, the one of the largest response among those shown.

    Parameters
    ----------
    curve : with ``dim`` evenly over 360 degrees; may be negative.

    Returns
    -------
    The array without ``dim``, degrees from 0 to below 360; NaN where the sum vanishes but for
    rounding of numbers of the curve's precision, as of a flat curve or one of two equal and
    opposite lobes, and where a response is missing.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle.

    References
    ----------
    Mardia & Jupp (2000), Directional Statistics.
    """
    check_circle(curve[dim], 360.0)
    degrees = blockwise(_resultant_angle, curve, np.deg2rad(curve[dim]), core=[[dim], [dim]])
    about = {"long_name": f"preferred {dim}, of the vector sum", "units": "degree", "period": 360.0}
    return degrees.assign_attrs(about)


def hue_selectivity(curve: xr.DataArray, dim: str = "azimuth") -> xr.DataArray:
    r"""Selectivity for hue: the length of the vector sum over that of all its vectors.

    .. math:: \left| \sum_\theta R(\theta) e^{i \theta} \right| / \sum_\theta |R(\theta)|

    0 for a unit that answers all hues alike, 1 for one that answers a single hue. Of responses of
    at least 0 it is one minus the circular variance. It is also defined of signed ones: of an even
    number of hues that of a linear unit is that of the same rectified. Of a cosine it is pi/4, or
    0.785, of very many hues; of 12 hues 0.776 to 0.804, by where the peak lies, of 36 0.784 to
    0.787.

    Parameters, NaN of a missing response and refusals are those of :func:`resultant_hue`; NaN also
    of a unit without any response.

    References
    ----------
    Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22:5639, of orientation and with
    responses of at least 0.
    """
    check_circle(curve[dim], 360.0)
    index = blockwise(_resultant_share, curve, np.deg2rad(curve[dim]), core=[[dim], [dim]])
    return index.assign_attrs(long_name=f"selectivity for {dim}", units="1")


def hue_half_width(
    curve: xr.DataArray, dim: str = "azimuth", *, level: float = 0.5
) -> xr.DataArray:
    """Half the width, in degrees, of the curve at a share of its height.

    As :func:`ephys.tuning.half_width`, of curves that may be negative away from their peak and of
    peaks that reach around the circle: the curve is interpolated with a periodic cubic spline, and
    followed from its peak to either side, as far as it takes, to where it first falls to ``level``
    times the peak. 60 for a cosine, within 0.01 of 12 hues or more, and for that rectified within
    1: its kinks are not those of a spline, and it has 53 to 60 of 6 hues, 51 to 83 of 4; below 180.

    Parameters
    ----------
    curve : with ``dim`` evenly over 360 degrees; may be negative.
    level : between 0 and 1.

    Returns
    -------
    The array without ``dim``; NaN for a curve that never falls to the level, that has no response
    above 0, or holds a NaN.

    Raises
    ------
    ValueError : if ``dim`` does not go evenly around the circle, or for a level out of range.

    References
    ----------
    De Valois, Cottaris, Elfar, Mahon & Wilson (2000), PNAS 97:4997, of the width of color tuning.
    """
    check_circle(curve[dim], 360.0)
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    width = blockwise(_half_width, curve, core=[[dim]], kwargs={"level": level})
    name = f"half-width of {dim} tuning at {level:.3g} of the peak"
    return width.assign_attrs(long_name=name, units="degree")


def sensitivity_ratio(color: xr.DataArray, luminance: xr.DataArray) -> xr.DataArray:
    r"""Sensitivity to isoluminant gratings over that to luminance gratings.

    .. math:: I = R_{color} / R_{luminance}

    Above 2 a cell is called color-preferring, below 0.5 luminance-preferring
    (:func:`ephys.opponency.color_class`). A network's filter that weights red, green and blue alike
    has 2.16: :mod:`ephys.opponency` says why.

    Parameters
    ----------
    color, luminance : the largest responses to either, above the blank; below 0 counts as none.
        Their gratings were of equal cone contrast. Divide responses to others by that of each
        (``curves / curves["cone_contrast"]`` of :func:`ephys.opponency.isoluminant_curves`), which
        is as good as far as responses are proportional to contrast.

    Returns
    -------
    The ratio; NaN without a response to luminance, of which nothing is a multiple.

    References
    ----------
    Johnson, Hawken & Shapley (2001), Nature Neuroscience 4:409.
    """
    ratio = color.clip(min=0) / luminance.where(luminance > 0)
    return ratio.assign_attrs(long_name="color over luminance, per cone contrast", units="1")


def friedman_color_index(color: xr.DataArray, achromatic: xr.DataArray) -> xr.DataArray:
    r"""Color selectivity: the best color against the best of black, white and greys.

    .. math:: (R_{color} - R_{achromatic}) / (R_{color} + R_{achromatic})

    From -1, for a unit that answers no color, to 1, for one that answers nothing else.

    Parameters
    ----------
    color, achromatic : the largest responses to either, above the blank; below 0 counts as none.

    Returns
    -------
    The index; NaN without any response.

    References
    ----------
    After Friedman, Zhou & von der Heydt (2003), Journal of Physiology 548:593.
    """
    best, other = color.clip(min=0), achromatic.clip(min=0)
    total = best + other
    index = (best - other) / total.where(total > 0)
    return index.assign_attrs(long_name="color index of Friedman et al., as shown", units="1")


def rafegas_color_index(
    color: xr.DataArray, grey: xr.DataArray, dim: str = "stimulus", *, share: float = 0.1
) -> xr.DataArray:
    r"""Color selectivity: what is lost when the best images lose their color.

    .. math:: 1 - \sum_{j \in best} R(grey_j) / \sum_{j \in best} R(color_j)

    over the images of the largest responses. 1 for a unit that answers none of them in grey, 0 for
    one that answers as well, below 0 for one that answers better.

    Parameters
    ----------
    color, grey : responses of at least 0 to images, and to the same images without color, in the
        same order along ``dim``. The grey version of an isoluminant grating is, by their rule of
        the first principal component, the luminance grating of the same shape.
    share : of the images, those of the largest responses, at least one. They take the best 100 of
        all of ImageNet.

    Returns
    -------
    The arrays without ``dim``; NaN for a unit without any response to color, and for one of which a
    response is negative or missing: rectify it first.

    Raises
    ------
    ValueError : for a share out of range.

    References
    ----------
    Rafegas & Vanrell (2018), Vision Research 151:7.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} is not above 0 and at most 1")
    index = blockwise(_lost, color, grey, core=[[dim], [dim]], kwargs={"share": share})
    return index.assign_attrs(long_name="color index of Rafegas and Vanrell", units="1")


def _resultant(values: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vector sum and the sum of lengths over the last axis; NaN where one is missing."""
    values = np.where(np.isfinite(values).all(-1, keepdims=True), values, np.nan).astype(float)
    return (values * np.exp(1j * angles)).sum(-1), abs(values).sum(-1)


def _resultant_angle(values: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Kernel of ``resultant_hue``: degrees, NaN for a sum that is rounding."""
    vector, length = _resultant(values, angles)
    eps = np.finfo(values.dtype if values.dtype.kind == "f" else float).eps
    defined = abs(vector) > values.shape[-1] * eps * length
    degrees = np.rad2deg(np.angle(vector)) % 360
    return np.where(defined, np.where(degrees < 360, degrees, 0.0), np.nan)


def _resultant_share(values: np.ndarray, angles: np.ndarray) -> np.ndarray:
    vector, length = _resultant(values, angles)
    return np.divide(abs(vector), length, out=np.full(length.shape, np.nan), where=length > 0)


def _half_width(curves: np.ndarray, *, level: float) -> np.ndarray:
    """Kernel of ``hue_half_width``: (..., hue) to (...)."""
    count = curves.shape[-1]
    present = np.isfinite(curves).all(-1)
    values = np.where(present[..., None], curves, 0.0).astype(float)
    closed = np.concatenate([values, values[..., :1]], axis=-1)
    spline = CubicSpline(np.arange(count + 1), closed, axis=-1, bc_type="periodic")
    fine = spline(np.arange(count * OVERSAMPLING) / OVERSAMPLING)
    around = (fine.argmax(-1, keepdims=True) + np.arange(fine.shape[-1] + 1)) % fine.shape[-1]
    once = np.take_along_axis(fine, around, axis=-1)  # from the peak to the peak again
    threshold = level * once[..., :1]
    low = once <= threshold
    defined = present & (values.max(-1) > 0) & low.any(-1)
    sides = []
    for curve, below in ((once, low), (once[..., ::-1], low[..., ::-1])):
        after = np.where(defined, below.argmax(-1), 1)[..., None]
        before = np.take_along_axis(curve, after - 1, axis=-1)
        drop = before - np.take_along_axis(curve, after, axis=-1)
        share = np.divide(before - threshold, drop, out=np.zeros(drop.shape), where=drop > 0)
        sides.append((after - 1 + share)[..., 0])
    return np.where(defined, np.mean(sides, axis=0) * 360 / fine.shape[-1], np.nan)


def _lost(color: np.ndarray, grey: np.ndarray, *, share: float) -> np.ndarray:
    """Kernel of ``rafegas_color_index``: (..., image) twice to (...)."""
    count = max(1, round(share * color.shape[-1]))
    both = np.concatenate([color, grey], -1)
    defined = np.isfinite(both).all(-1) & (both.min(-1) >= 0) & (color.max(-1) > 0)
    best = np.argsort(np.where(defined[..., None], -color, 0.0), -1, kind="stable")[..., :count]
    kept, whole = (np.take_along_axis(v, best, -1).astype(float).sum(-1) for v in (grey, color))
    return 1 - np.divide(kept, whole, out=np.full(defined.shape, np.nan), where=defined)
