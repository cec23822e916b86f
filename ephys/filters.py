"""What the filters of a first layer say of its units, straight from the weights.

A unit of a first convolution, before its rectification, is a linear filter, and what it answers to
any stimulus is in its weights: what they say of color, orientation and frequency needs no stimuli,
and checks what was probed with them.

Weights are (unit, channel, y, x), y downward as in images, as a network holds them: a numpy array,
or an ``xr.DataArray`` of these dimensions, whose coordinates of ``unit`` are kept. Channels are
red, green and blue, and weights are per pixel value: where a network divides each channel of its
input by a standard deviation, divide its weights by that first. What concerns space alone takes any
number of channels, and adds up their power; for what gratings of one color meet give it
:func:`along_color`. A filter that is 0 everywhere has nothing: NaN. How alike filters are tells
``ephys.similarity.cosine(weights, axes=True)``.
"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.ndimage import maximum_filter

from ephys.display import RGB_TO_LMS
from ephys.rounding import SHARE

Weights = np.ndarray | xr.DataArray

BAND = (0.0, 1.0)
UNORIENTED = 0.2
_DIMS = ("unit", "channel", "y", "x")
_ROUNDING = 1000 * float(np.finfo(float).eps)
_PEAKS = 8  # of the spectrum, that are followed
_ZOOMS = 12  # each narrows the best frequency down to a quarter


def filter_properties(
    weights: Weights,
    *,
    pixels_per_degree: float,
    band: tuple[float, float] = BAND,
    rgb_to_lms: ArrayLike = RGB_TO_LMS,
) -> xr.Dataset:
    """All that is here of each unit of a layer that sees color, as a table along ``unit``.

    ``chromatic_energy``, ``color_share`` (of :func:`main_component`), ``cone_l``, ``cone_m`` and
    ``cone_s``, ``hue_axis``, ``orientation``, ``orientation_selectivity`` and
    ``spatial_frequency``. Each has ``units`` and ``long_name``; the two that are axes, the same
    after half a turn, have a ``period`` of 180 degrees.

    Parameters
    ----------
    weights : (unit, 3, y, x).
    pixels_per_degree : visual scale of the images that the layer sees; 1 for cycles per pixel.
    band : of frequencies that tell the orientation, see :func:`preferred_orientation`.
    rgb_to_lms : of the display and the cones, see :func:`cone_weights`.

    Raises
    ------
    ValueError : as the functions do.

    Examples
    --------
    >>> bars = np.cos(np.pi / 2 * np.arange(8)) * np.ones((8, 1))
    >>> red_green = np.stack([bars, -bars, 0 * bars])[None]
    >>> found = filter_properties(red_green, pixels_per_degree=1).round(6)
    >>> [found[name].item() for name in ("chromatic_energy", "orientation")]
    [1.0, 90.0]
    """
    cones = cone_weights(weights, rgb_to_lms=rgb_to_lms)
    frequency = preferred_spatial_frequency(weights, pixels_per_degree=pixels_per_degree)
    return xr.Dataset(
        {
            "chromatic_energy": chromatic_energy(weights),
            "color_share": main_component(weights)["share"],
            **{f"cone_{name.lower()}": _of_cone(cones, name) for name in "LMS"},
            "hue_axis": hue_axis(weights, rgb_to_lms=rgb_to_lms),
            "orientation": preferred_orientation(weights, band=band),
            "orientation_selectivity": orientation_selectivity(weights, band=band),
            "spatial_frequency": frequency,
        }
    )


def chromatic_energy(weights: Weights) -> xr.DataArray:
    r"""Share of a filter's energy that is left once the mean over red, green and blue is removed.

    .. math:: \sum_{c,p} (w_{cp} - \bar w_p)^2 \Big/ \sum_{c,p} w_{cp}^2, \quad
        \bar w_p = \frac{1}{3} \sum_c w_{cp}

    0 for a filter that weights all three alike; 1 for one whose weights add up to 0 at every pixel,
    which is blind to grey images. Of weights drawn at random it is 2/3 on average.

    Parameters
    ----------
    weights : (unit, 3, y, x).

    Returns
    -------
    (unit,), 0 to 1.
    """
    filters, units = _filters(weights, color=True)
    opponent = filters - filters.mean(1, keepdims=True)
    share = _ratio((opponent**2).sum((1, 2, 3)), (filters**2).sum((1, 2, 3)))
    return _labeled(share, units, "chromatic energy", "1")


def main_component(weights: Weights) -> xr.Dataset:
    r"""The color and the spatial profile whose product comes nearest to a filter.

    .. math:: w_{cp} \approx s \, \mathrm{color}_c \, \mathrm{profile}_p

    the first component of the singular value decomposition of channels by pixels; both have
    length 1. The profile is positive where it is strongest, and the color is what excites there.
    Where its lobes of both signs are as strong, that sign is chance: the color is an axis, and has
    no direction.

    Parameters
    ----------
    weights : (unit, 3, y, x).

    Returns
    -------
    ``color`` (unit, channel), ``profile`` (unit, y, x), and ``share`` (unit,), 1/3 to 1: of the
    filter's energy, how much the product holds.
    """
    filters, units = _filters(weights, color=True)
    matrices = filters.reshape(*filters.shape[:2], -1)
    colors, strengths, profiles = np.linalg.svd(matrices, full_matrices=False)
    color, profile, energy = colors[:, :, 0], profiles[:, 0], strengths**2
    peak = np.take_along_axis(profile, abs(profile).argmax(1)[:, None], axis=1)
    sign = np.where(energy[:, :1] > 0, np.copysign(1, peak), np.nan)
    channels = {**units, "channel": ["red", "green", "blue"]}
    profile = (sign * profile).reshape(len(filters), *filters.shape[2:])
    share = _ratio(energy[:, 0], energy.sum(1))
    return xr.Dataset(
        {
            "color": _labeled(sign * color, channels, "main color", "1", ("channel",)),
            "profile": _labeled(profile, units, "profile of the main color", "1", ("y", "x")),
            "share": _labeled(share, units, "share of the main color", "1"),
        }
    )


def cone_weights(weights: Weights, *, rgb_to_lms: ArrayLike = RGB_TO_LMS) -> xr.DataArray:
    r"""What L, M and S cones add to the response of a filter's main component.

    .. math:: w_k \propto \sum_c \mathrm{color}_c \, (M^{-1})_{ck} \sum_j M_{kj}

    with M from rgb to cone excitations: the response to a modulation, around a grey, that one kind
    of cone alone sees, per cone contrast. They are divided by the sum of their magnitudes. L and M
    of opposite sign make a unit cone-opponent, which so is a filter that weights red, green and
    blue alike (0.54, -0.32, 0.14): it does not weight them as luminance does. The largest weight is
    positive, and of equally large ones the first, as in :func:`ephys.cones.cone_weights`, so an ON
    and an OFF cell are the same.

    Parameters
    ----------
    weights : (unit, 3, y, x), of pixels that are light. Pixels encoded as sRGB change alike in all
        three channels around a grey, so for small contrasts the weights are the same.
    rgb_to_lms : (cone, rgb) of another display or other cones.

    Returns
    -------
    (unit, cone), -1 to 1.

    References
    ----------
    Derrington, Krauskopf & Lennie (1984), Journal of Physiology 357:241. Johnson, Hawken & Shapley
    (2004), Journal of Neurophysiology 91:2501.
    """
    matrix = _cone_matrix(rgb_to_lms)
    color = main_component(weights)["color"]
    gains = color.values @ (np.linalg.inv(matrix) * matrix.sum(1))  # (unit, cone)
    sizes = abs(gains)
    first = (sizes >= (1 - SHARE) * sizes.max(1, keepdims=True)).argmax(1)[:, None]
    sign = np.sign(np.take_along_axis(gains, first, axis=1))
    values = gains * sign / sizes.sum(1, keepdims=True)
    units = {**_unit_coordinates(color), "cone": ["L", "M", "S"]}
    return _labeled(values, units, "cone weight", "1", ("cone",))


def hue_axis(weights: Weights, *, rgb_to_lms: ArrayLike = RGB_TO_LMS) -> xr.DataArray:
    r"""Azimuth, in the isoluminant plane of DKL space, to which the main component answers most.

    .. math:: \mathrm{atan2}(g_{S}, g_{L-M}) \bmod 180

    with g its response to the cardinal axes. As in ``color="dkl"`` of the stimuli, 0 is along
    L - M, 90 along S, and either is as long as the display can show it around a grey: the angles
    between them depend on the display. An axis, of period 180: a filter answers a grating of one
    hue as the grating of the opposite hue half a period further on.

    Parameters
    ----------
    weights, rgb_to_lms : as of :func:`cone_weights`; L + M has to be luminance.

    Returns
    -------
    (unit,), degrees, 0 to below 180. NaN for a filter whose weights are in the proportions of the
    luminances of red, green and blue, which answers nothing isoluminant. One that weights them
    alike does answer, at 55 degrees, and filters of little chromatic energy do so near there.

    References
    ----------
    Derrington, Krauskopf & Lennie (1984), Journal of Physiology 357:241.
    """
    matrix = _cone_matrix(rgb_to_lms)
    cardinal = np.linalg.solve(matrix, np.array([[1.0, -1, 0], [0, 0, 1]]).T)  # (rgb, axis)
    color = main_component(weights)["color"]
    red_green, blue_yellow = (color.values @ (cardinal / abs(cardinal).max(0))).T
    answers = np.hypot(red_green, blue_yellow) > _ROUNDING
    axis = np.where(answers, _axis(np.arctan2(blue_yellow, red_green)), np.nan)
    return _labeled(axis, _unit_coordinates(color), "hue axis (DKL azimuth)", "degree", period=180)


def preferred_orientation(
    weights: Weights, *, band: tuple[float, float] = BAND, least: float = UNORIENTED
) -> xr.DataArray:
    r"""Orientation of a filter, from the mean direction of its power spectrum.

    .. math:: \tfrac12 \arg v, \quad v = \int P(f, \theta) e^{2 i \theta} df \Big/ \int P \, df

    over the disc of spatial frequencies, or the ring in ``band``, with P the squared amplitude of
    the response to a grating of that frequency and orientation, added up over channels. A filter
    whose spectrum has a mirror axis has its orientation exactly.

    After Burg et al., whose ``least`` it is, but not their code: there P is the amplitude, the
    length of v changes with the filter's gain, a Gaussian window is laid over the filter, and the
    ring is (0.3, 0.7). In trained networks that leaves out what colored filters answer most.

    Parameters
    ----------
    weights : (unit, channel, y, x).
    band : lowest and highest frequency, as a share of the Nyquist limit, 0 to 1.
    least : the length of v up to which a filter is not oriented.

    Returns
    -------
    (unit,), degrees counter-clockwise from horizontal along the bars, 0 to below 180; NaN for a
    filter that is not oriented.

    Raises
    ------
    ValueError : for a band that is none.

    References
    ----------
    Burg, Cadena, Denfield, Walker, Tolias, Bethge & Ecker (2021), PLoS Computational Biology
    17:e1009028.
    """
    filters, units = _filters(weights)
    resultant = _resultant(filters, band)
    axis = np.where(abs(resultant) > least, _axis(np.angle(resultant) / 2), np.nan)
    return _labeled(axis, units, "preferred orientation", "degree", period=180)


def orientation_selectivity(weights: Weights, *, band: tuple[float, float] = BAND) -> xr.DataArray:
    """How much of a filter's power is at one orientation: the length of the mean vector.

    Of :func:`preferred_orientation`, with the same parameters: 0 where no orientation has more than
    that at right angles to it, 1 where one has all.
    """
    filters, units = _filters(weights)
    return _labeled(abs(_resultant(filters, band)), units, "orientation selectivity", "1")


def preferred_spatial_frequency(weights: Weights, *, pixels_per_degree: float) -> xr.DataArray:
    """Spatial frequency of the grating that a filter answers most, of all orientations.

    Parameters
    ----------
    weights : (unit, channel, y, x).
    pixels_per_degree : visual scale of the images that the layer sees; 1 for cycles per pixel.

    Returns
    -------
    (unit,), cycles per degree, from 0, of a filter that answers a uniform field most, to the
    Nyquist limit; NaN for a filter that answers all gratings alike, as one of a single pixel does.

    Raises
    ------
    ValueError : for a scale that is not above 0.
    """
    _check_scale(pixels_per_degree)
    filters, units = _filters(weights)
    frequency = _best_frequency(filters) * pixels_per_degree
    return _labeled(frequency, units, "preferred spatial frequency", "cycles degree-1")


def grating_amplitude(
    weights: Weights,
    *,
    spatial_frequency: ArrayLike,
    orientation: ArrayLike,
    pixels_per_degree: float,
) -> xr.DataArray:
    r"""Amplitude, over phase, of the response to a grating, per amplitude of the grating.

    .. math:: \left| \sum_p w_p \, e^{2 \pi i f u_p} \right|

    with u the distance at right angles to the bars: F1 of a linear unit, its tuning straight from
    the weights. Channels are added up as power, the root of the sum of squares; for gratings of one
    color give :func:`along_color`.

    Parameters
    ----------
    weights : (unit, channel, y, x).
    spatial_frequency : cycles per degree, (spatial_frequency,), 0 to the Nyquist limit, half the
        ``pixels_per_degree``.
    orientation : of the bars, degrees counter-clockwise from horizontal, (orientation,).
    pixels_per_degree : visual scale of the images that the layer sees.

    Returns
    -------
    (unit, spatial_frequency, orientation)

    Raises
    ------
    ValueError : for a scale that is not above 0, and frequencies that its pixels do not show.
    """
    _check_scale(pixels_per_degree)
    filters, units = _filters(weights)
    frequencies = np.atleast_1d(np.asarray(spatial_frequency, float))
    limit = pixels_per_degree / 2
    if (beyond := ~((frequencies >= 0) & (frequencies <= limit * (1 + _ROUNDING)))).any():
        raise ValueError(
            f"spatial_frequency={frequencies[beyond][0]:g} is not from 0 to {limit:g}, the Nyquist "
            f"limit at pixels_per_degree={pixels_per_degree:g}; leave it out"
        )
    angles = np.atleast_1d(np.asarray(orientation, float))
    power = _power(filters, frequencies / pixels_per_degree, np.deg2rad(angles))
    dims = ("spatial_frequency", "orientation")
    coords = {
        **units,
        "spatial_frequency": ("spatial_frequency", frequencies, {"units": "cycles degree-1"}),
        "orientation": ("orientation", angles, {"units": "degree"}),
    }
    return _labeled(np.sqrt(power), coords, "amplitude of the response", "1", dims)


def along_color(weights: Weights, rgb: ArrayLike) -> xr.DataArray:
    """The filters of one channel that stimuli of one color meet.

    Parameters
    ----------
    weights : (unit, 3, y, x).
    rgb : what is added to the background at contrast 1, as ``ephys.stimuli.colors.difference``
        says it; (1, 1, 1) for luminance.

    Returns
    -------
    (unit, channel, y, x) of one channel.

    Raises
    ------
    ValueError : for a color that is not three numbers.
    """
    filters, units = _filters(weights, color=True)
    color = np.asarray(rgb, float)
    if color.shape != (3,):
        raise ValueError(f"rgb of shape {color.shape}; give three numbers: red, green and blue")
    met = np.einsum("ucyx,c->uyx", filters, color)[:, None]
    return _labeled(met, units, "weight", "1", _DIMS[1:])


def _filters(weights: Weights, *, color: bool = False) -> tuple[np.ndarray, dict[str, Any]]:
    """Weights in float64, and the coordinates of their units."""
    units = {}
    if isinstance(weights, xr.DataArray):
        weights = weights.transpose(*_DIMS)
        units = _unit_coordinates(weights)
    filters = np.asarray(weights, float)
    if filters.ndim != 4 or (color and filters.shape[1] != 3):
        wanted = f"(unit, {'3' if color else 'channel'}, y, x)"
        raise ValueError(f"weights of shape {filters.shape}; give those of a layer, {wanted}")
    if (bad := ~np.isfinite(filters).all((1, 2, 3))).any():
        raise ValueError(f"the weights of unit {bad.argmax()} are not all finite; leave it out")
    return filters, units


def _unit_coordinates(array: xr.DataArray) -> dict[str, Any]:
    return {str(name): one.variable for name, one in array.coords.items() if one.dims == ("unit",)}


def _labeled(
    values: np.ndarray,
    coords: dict[str, Any],
    name: str,
    units: str,
    dims: tuple[str, ...] = (),
    **attributes: float,
) -> xr.DataArray:
    attrs = {"long_name": name, "units": units, **attributes}
    return xr.DataArray(values, coords, ("unit", *dims), attrs=attrs)


def _of_cone(cones: xr.DataArray, name: str) -> xr.DataArray:
    return cones.sel(cone=name, drop=True).assign_attrs(long_name=f"weight of {name} cones")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)


def _axis(radians: np.ndarray) -> np.ndarray:
    return np.rad2deg(radians) % 180 % 180  # -1e-20 % 180 is 180


def _cone_matrix(rgb_to_lms: ArrayLike) -> np.ndarray:
    matrix = np.asarray(rgb_to_lms, float)
    if matrix.shape != (3, 3):
        raise ValueError(f"rgb_to_lms of shape {matrix.shape}; it takes 3 rgb to 3 cones, (3, 3)")
    if np.linalg.matrix_rank(matrix) < 3:
        raise ValueError("rgb_to_lms has no inverse; give the excitations of three kinds of cones")
    return matrix


def _check_scale(pixels_per_degree: float) -> None:
    if not 0 < pixels_per_degree < np.inf:
        raise ValueError(f"pixels_per_degree={pixels_per_degree} is not above 0")


def _resultant(filters: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Mean vector (unit,), complex, of the power in a ring of frequencies; of twice the angle.

    So many nodes leave only rounding of the waves that the power of a filter of this size is made
    of: Gauss-Legendre's along the radius, evenly spaced ones around the circle.
    """
    low, high = band
    if not 0 <= low < high <= 1:
        raise ValueError(f"band={band} is not from low to high, within 0 to 1 of the Nyquist limit")
    side = max(filters.shape[2:])
    places, shares = np.polynomial.legendre.leggauss(3 * side // 2 + 10)
    frequencies = (low + (high - low) * (1 + places) / 2) / 2  # cycles per pixel
    angles = np.pi * np.arange(3 * side + 10) / (3 * side + 10)
    power = _power(filters, frequencies, angles) * (shares * frequencies)[:, None]
    total = power.sum((1, 2))
    vector = (power * np.exp(2j * angles)).sum((1, 2))
    # What rounding leaves of a filter in a ring where it has no power has no orientation either.
    nothing = total <= _ROUNDING * (filters**2).sum((1, 2, 3))
    return np.where(nothing, np.nan, vector / np.where(nothing, 1, total))


def _power(filters: np.ndarray, frequencies: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Squared amplitude (unit, frequency, angle) of responses to gratings, over all channels.

    Frequencies are in cycles per pixel, angles of the bars in radians.
    """
    count, channels, height, width = filters.shape
    rows = filters.reshape(count * channels, height * width)
    over_x = 2j * np.pi * np.sin(angles)[:, None] * np.arange(width)
    over_y = 2j * np.pi * np.cos(angles)[:, None] * np.arange(height)  # y downward
    waves = (
        np.exp(frequency * over_y)[:, :, None] * np.exp(frequency * over_x)[:, None]
        for frequency in frequencies
    )  # (angle, y, x) each
    power = np.stack([abs(rows @ wave.reshape(angles.size, -1).T) ** 2 for wave in waves], axis=1)
    return power.reshape(count, channels, *power.shape[1:]).sum(1)


def _best_frequency(filters: np.ndarray) -> np.ndarray:
    """Cycles per pixel (unit,) at which the power is largest, up to the Nyquist limit.

    The highest of the peaks on a grid in x and y, once each is followed down to ever finer ones.
    """
    nodes = 4 * max(filters.shape[2:])
    half, whole = np.arange(nodes // 2 + 1) / nodes, np.arange(-nodes // 2, nodes // 2 + 1) / nodes
    power = _power_at(filters, half[None, None], whole[None, None])[:, 0]  # (unit, y, x)
    most = power.max((1, 2))
    flat = most - np.where(power < 0, most[:, None, None], power).min((1, 2)) <= _ROUNDING * most
    peaks = np.where(power == maximum_filter(power, size=(1, 3, 3)), power, -1)
    places = np.argsort(-peaks.reshape(len(filters), -1), axis=1)[:, :_PEAKS, None]
    across, down = half[places % half.size], whole[places // half.size]  # (unit, peak, 1)
    around = np.array([0, 1, -1, 2, -2, 3, -3, 4, -4]) / 4  # of ties, the first: no step
    for zoom in range(_ZOOMS):
        along_x, along_y = (at + around / nodes / 4**zoom for at in (across, down))
        power = _power_at(filters, along_x, along_y).reshape(*across.shape[:2], -1)
        best = power.argmax(-1)[..., None]
        across = np.take_along_axis(along_x, best % around.size, axis=-1)
        down = np.take_along_axis(along_y, best // around.size, axis=-1)
    highest = power.max(-1).argmax(-1)[:, None]
    frequency = np.take_along_axis(np.hypot(across, down)[..., 0], highest, axis=1)[:, 0]
    return np.where(flat, np.nan, frequency)


def _power_at(filters: np.ndarray, along_x: np.ndarray, along_y: np.ndarray) -> np.ndarray:
    """Power (unit, peak, y, x) at frequencies (unit or 1, peak, x) and (unit or 1, peak, y).

    These are in cycles per pixel; beyond the Nyquist limit the power is -1.
    """
    over_x, over_y = (
        np.exp(-2j * np.pi * along[..., None] * np.arange(length))
        for along, length in ((along_x, filters.shape[3]), (along_y, filters.shape[2]))
    )
    # As matrix products: (unit, 1, channel, y, x) @ (unit or 1, peak, 1, x, a), then with y.
    lines = filters[:, None] @ np.swapaxes(over_x, -1, -2)[:, :, None]
    spectrum = over_y[:, :, None] @ lines  # (unit, peak, channel, y, x)
    shown = np.hypot(along_x[..., None, :], along_y[..., None]) <= 0.5
    return np.where(shown, (abs(spectrum) ** 2).sum(2), -1)
