"""Single and double opponent, from spatial frequency tuning to color and to luminance.

:mod:`ephys.harris` has another rule that uses the same words.

The limits are those of cells. A network sees pixels, and a filter that weights red, green and blue
alike, which in its own terms is blind to color, answers isoluminant gratings: red has less than a
third of the luminance of green, and blue a tenth. Its sensitivity ratio is 2.16
(:func:`linear_ratio`), and its L and M weights have opposite signs, so it is called
color-preferring and opponent. What lies near it is no sign of color vision:
:func:`chromatic_energy`, 0 for it, tells such units.
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ephys.cones import AXES, cone_contrasts, first_harmonic, laid_out
from ephys.display import RGB_TO_LMS, WHITE_LMS
from ephys.tuning import blockwise

COLOR_CLASSES = ("luminance-preferring", "color-luminance", "color-preferring")
_CURVE = ("part", "spatial_frequency")


def isoluminant_curves(responses: xr.Dataset) -> xr.DataArray:
    """Spatial frequency tuning to color and to luminance: (unit, part, spatial_frequency).

    Responses above the blank: the mean over phases (F0) of a unit whose largest response is that,
    else the amplitude at the frequency of the stimulus (F1), as of simple cells and of units that
    were not rectified. Every part is at the orientation of its own largest response.

    Parameters
    ----------
    responses : of the protocol ``isoluminant_frequency``: ``part`` "L-M", "S" and "luminance", of
        the axes of DKL space, and ``blank``.

    Returns
    -------
    With the coordinates ``cone_contrast`` of every part, the root mean square of the contrasts of
    the cones that see it, and ``component`` of every unit, "F0" or "F1". NaN, and "", of a unit of
    which a response is missing.

    Raises
    ------
    KeyError, ValueError : as :func:`ephys.cones.laid_out` and :func:`ephys.cones.cone_contrasts`.

    References
    ----------
    Johnson, Hawken & Shapley (2001), Nature Neuroscience 4:409.
    """
    names = list(AXES["dkl"])
    seen = cone_contrasts(responses, names)
    table = laid_out(responses, names)
    if "phase" not in table.dims:
        table = table.expand_dims(phase=1)
    others = [str(name) for name in table.dims if name not in ("unit", *_CURVE, "phase")]
    curves, component = blockwise(
        _tuned_curves,
        table,
        responses["blank"].reset_coords(drop=True),
        core=[["part", *others, "spatial_frequency", "phase"], []],
        out=[[*_CURVE], []],
        dtypes=[float, "<U2"],
    )
    contrast = _root_mean_square(seen)
    return curves.assign_coords(cone_contrast=("part", contrast), component=component.variable)


def preferred_axis(curves: xr.DataArray) -> xr.DataArray:
    """The curve of the isoluminant axis with the largest response: (unit, spatial_frequency).

    Parameters
    ----------
    curves : of :func:`isoluminant_curves`, over their ``cone_contrast`` for the axis to which the
        unit is the more sensitive.

    Returns
    -------
    With ``part``, the name of the axis, as a coordinate of the unit; ``""`` for one that answers
    neither.
    """
    hued = curves.isel(part=np.flatnonzero(curves["part"].values != "luminance"))
    names = hued["part"].values
    best, name = blockwise(
        _best_axis,
        hued.reset_coords(drop=True),
        core=[[*_CURVE]],
        out=[["spatial_frequency"], []],
        dtypes=[float, names.dtype],
        kwargs={"names": names},
    )
    return best.assign_coords(part=name.variable)


def linear_ratio(weights: ArrayLike) -> np.ndarray:
    r"""Sensitivity ratio that a linear unit of these cone weights has.

    .. math:: \max_{axis \in \{L-M,\, S\}} \frac{|\sum_c w_c C_{axis,c}|}{C_{axis}} \Big/
        \Big|\sum_c w_c\Big|

    with C the contrasts of the cones on the axes of DKL space, and their root mean square over the
    cones that see it: what :func:`ephys.color.sensitivity_ratio` is of a unit in which all cones
    have the same spatial profile.

    Parameters
    ----------
    weights : (..., cone) of L, M and S, of :func:`ephys.cones.cone_weights` or
        :func:`ephys.filters.cone_weights`; their sum of magnitudes does not matter.

    Returns
    -------
    (...); NaN for weights that are NaN or add up to 0 but for rounding: they see no luminance.

    Raises
    ------
    ValueError : for another number of cones than three.

    Examples
    --------
    >>> from ephys.filters import cone_weights
    >>> alike = cone_weights(np.ones((1, 3, 1, 1)))  # of red, green and blue
    >>> linear_ratio(alike).round(2)
    array([2.16])
    """
    cones = np.asarray(weights, float)
    if cones.shape[-1:] != (3,):
        raise ValueError(f"weights of shape {cones.shape}; the last axis is of L, M and S, so 3")
    axes = np.array([axis.contrasts for axis in AXES["dkl"].values()])
    answers = np.abs(cones @ axes.T) / _root_mean_square(axes)
    color, luminance = answers[..., :-1].max(-1), answers[..., -1]
    some = luminance > 8 * np.finfo(float).eps * np.abs(cones).sum(-1)
    return np.divide(color, luminance, out=np.full(luminance.shape, np.nan), where=some)


def chromatic_energy(weights: xr.DataArray) -> xr.DataArray:
    r"""Share of a unit's weights of red, green and blue that is left once their mean is removed.

    .. math:: \sum_j (r_j - \bar r)^2 \Big/ \sum_j r_j^2, \quad
        r_j = \sum_c w_c \frac{M_{cj}}{\sum_k M_{ck}}

    with M from the rgb of the display to cone excitations: what red, green and blue each add to
    the response of a linear unit whose cones have these weights. 0 for a unit that weights pixels
    alike, which is blind to color in its own terms, and 1 for one that is blind to grey. For a
    filter of one spatial profile it is :func:`ephys.filters.chromatic_energy`.

    Parameters
    ----------
    weights : (..., cone) of L, M and S, of :func:`ephys.cones.cone_weights`; their sum of
        magnitudes does not matter.

    Returns
    -------
    (...), 0 to 1; NaN for weights that are NaN, as those of complex cells are, or all 0.
    """
    share: xr.DataArray = blockwise(_chromatic_energy, weights, core=[["cone"]])
    return share.assign_attrs(long_name="chromatic energy", units="1")


def color_class(
    color: xr.DataArray, luminance: xr.DataArray, *, low: float = 0.5, high: float = 2.0
) -> xr.DataArray:
    """``"luminance-preferring"``, ``"color-luminance"`` or ``"color-preferring"``, else ``""``.

    By the ratio of the two sensitivities: below ``low``, from it to ``high``, and above that;
    ``""`` of a unit that answers neither, or of which one is missing. A filter that weights red,
    green and blue alike has 2.16, see above.

    Parameters
    ----------
    color, luminance : sensitivities, as in :func:`ephys.color.sensitivity_ratio`.

    Raises
    ------
    ValueError : unless 0 < low <= high.

    References
    ----------
    Johnson, Hawken & Shapley (2001), Nature Neuroscience 4:409; (2004), Journal of Neurophysiology
    91:2501.
    """
    if not 0 < low <= high:
        raise ValueError(f"low={low} and high={high} are not 0 < low <= high")
    limits = {"low": low, "high": high}
    named = blockwise(_color_class, color, luminance, core=[[], []], dtypes=["<U20"], kwargs=limits)
    named.attrs = {"long_name": "preference for color or luminance", "units": "1"}
    return named


def single_or_double_opponent(
    color: xr.DataArray,
    luminance: xr.DataArray,
    bands: xr.DataArray,
    weights: xr.DataArray | None = None,
    *,
    low: float = 0.5,
    least: float = 0.1,
) -> xr.DataArray:
    """``"single-opponent"``, ``"double-opponent"`` or ``"non-opponent"``, else ``""``.

    A cell is opponent that answers color, with a ratio of sensitivities of ``low`` or more, and
    that has cone weights of opposite signs. It is single-opponent if low spatial frequencies of
    color pass, double-opponent if they do not. Where the weights are not known, as those of complex
    cells are not, their signs are not asked for. ``""`` is said of a unit that answers neither
    color nor luminance, or of which one is missing, and of an opponent one without a band. A filter
    that weights red, green and blue alike is opponent, see above.

    Parameters
    ----------
    color, luminance : sensitivities, as in :func:`ephys.color.sensitivity_ratio`.
    bands : what :func:`ephys.frequency.band` says of the curve of color.
    weights : cone weights (..., cone), of :func:`ephys.cones.cone_weights`.
    low : of the ratio; theirs is 0.5.
    least : that the weights of either sign come to, for opposite signs: below it lies what is not
        told from rounding, or from a display and cones that are not quite theirs. Ours.

    Raises
    ------
    ValueError : for ``low`` not above 0, or ``least`` not from 0 to below 0.5.

    References
    ----------
    Johnson, Hawken & Shapley (2008), Journal of Neuroscience 28:8096. Shapley & Hawken (2011),
    Vision Research 51:701.
    """
    if not (low > 0 and 0 <= least < 0.5):
        raise ValueError(f"low={low} is not above 0, or least={least} not from 0 to below 0.5")
    opposite = xr.ones_like(bands, bool)
    if weights is not None:
        positive, negative = weights.clip(min=0).sum("cone"), -weights.clip(max=0).sum("cone")
        opposite = ((positive > least) & (negative > least)) | weights.isnull().any("cone")
    named = blockwise(
        _single_or_double,
        *(color, luminance, bands, opposite),
        core=[[], [], [], []],
        dtypes=["<U15"],
        kwargs={"low": low},
    )
    named.attrs = {"long_name": "single or double opponent", "units": "1"}
    return named


def _chromatic_energy(weights: np.ndarray) -> np.ndarray:
    """Kernel of ``chromatic_energy``: (..., cone) to (...)."""
    pixels = np.einsum("...c,cj->...j", weights, RGB_TO_LMS / WHITE_LMS[:, None])
    opponent = pixels - pixels.mean(-1, keepdims=True)
    energy = (pixels**2).sum(-1)
    nothing = np.full(energy.shape, np.nan)
    return np.divide((opponent**2).sum(-1), energy, out=nothing, where=energy > 0)


def _root_mean_square(contrasts: np.ndarray) -> np.ndarray:
    """Of the cones that see an axis: (part, cone) to (part)."""
    return np.sqrt((contrasts**2).sum(1) / (contrasts != 0).sum(1))


def _tuned_curves(table: np.ndarray, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``isoluminant_curves``: (unit, part, *others, frequency, phase) and (unit)."""
    units, parts, *_, frequencies, phases = table.shape
    values = table.reshape(units, parts, -1, frequencies, phases).astype(float)
    present = np.isfinite(values).all((1, 2, 3, 4)) & np.isfinite(blank)
    # Of nothing but the blank both are exactly 0.
    above = values - blank[:, None, None, None, None]
    above = np.where(present[:, None, None, None, None], above, 0.0)
    f0, f1 = above.mean(-1), abs(first_harmonic(above))
    modulated = f1.max((1, 2, 3)) > f0.max((1, 2, 3))
    larger = np.where(modulated[:, None, None, None], f1, f0)
    best = larger.max(-1).argmax(-1)[..., None, None]
    curves = np.take_along_axis(larger, best, axis=2)[:, :, 0]
    names = np.where(present, np.where(modulated, "F1", "F0"), "")
    return np.where(present[:, None, None], curves, np.nan), names


def _best_axis(curves: np.ndarray, *, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel of ``preferred_axis``: (unit, part, frequency) to the curve and its part."""
    peaks = np.where(np.isfinite(curves).all(-1), curves.max(-1), 0.0)
    best = peaks.argmax(-1)
    chosen = np.take_along_axis(curves, best[:, None, None], axis=1)[:, 0]
    return chosen, np.where(peaks.max(-1) > 0, names[best], "")


def _sensitivities(color: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, ...]:
    """Both, of at least 0, and whether there is any and neither is missing."""
    color, luminance = (np.maximum(values, 0) for values in (color, luminance))
    return color, luminance, color + luminance > 0


def _color_class(
    color: np.ndarray, luminance: np.ndarray, *, low: float, high: float
) -> np.ndarray:
    color, luminance, answered = _sensitivities(color, luminance)
    place = 0 + (color >= low * luminance) + (color > high * luminance)
    return np.where(answered, np.array(COLOR_CLASSES)[place], "")


def _single_or_double(
    color: np.ndarray,
    luminance: np.ndarray,
    bands: np.ndarray,
    opposite: np.ndarray,
    *,
    low: float,
) -> np.ndarray:
    color, luminance, answered = _sensitivities(color, luminance)
    opponent = opposite & (color >= low * luminance)
    passed = np.isin(bands, ["low-pass", "all-pass"])
    kind = np.select([passed, bands != ""], ["single-opponent", "double-opponent"], "")
    return np.where(answered, np.where(opponent, kind, "non-opponent"), "")
