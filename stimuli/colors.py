"""The colors of stimuli, in the linear light of an sRGB display.

A color is the last axis of an array, three numbers in float64: linear *rgb*, 0 to 1, with (1, 1, 1)
the white of the display; *srgb*, the same encoded as pixels; CIE *xyz*, with Y = 1 for white; cone
excitations *lms*; *hsl*, *hsv*, *lab* and *lch*.

The cones are those of Smith & Pokorny (1975), whose L + M is luminance. They are defined on the XYZ
of Judd and Vos, and are applied here to the CIE 1931 XYZ of the display, so that equal luminance is
the same for the cones, the display and CIELAB. By Vos's corrected XYZ of the same display, the
largest S-cone stimulus on mid-grey, of contrast 0.86, has a contrast of 0.009 to L and M cones.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.display import CARDINAL, RGB_TO_LMS, RGB_TO_XYZ, WHITE_LMS, WHITE_XYZ, XYZ_TO_LMS
from ephys.nearest import nearest
from ephys.stimuli.parameters import Parameter, vectors

_ANGLE = Parameter("degree", period=360)
_FRACTION = Parameter("1", low=0, high=1)
_ANY = Parameter("1")
_LAB_LIGHTNESS = Parameter("1", low=0, high=100)
COLORS: dict[str, dict[str, Parameter]] = {
    "luminance": {},
    "dkl": {"azimuth": _ANGLE, "elevation": Parameter("degree", low=-90, high=90, default=0.0)},
    "cones": {"cone_l": _ANY, "cone_m": _ANY, "cone_s": _ANY},
    "hsl": {"hue": _ANGLE, "saturation": _FRACTION, "lightness": _FRACTION},
    "hsv": {"hue": _ANGLE, "saturation": _FRACTION, "value": _FRACTION},
    "lab": {"lab_lightness": _LAB_LIGHTNESS, "lab_a": _ANY, "lab_b": _ANY},
    "lch": {"lab_lightness": _LAB_LIGHTNESS, "chroma": Parameter("1", low=0), "lab_hue": _ANGLE},
}

LUMINANCE_WEIGHTS = RGB_TO_XYZ[1]
_KNEE = 0.0031308  # of the sRGB curve, in light
_ENCODED_KNEE = 0.04045
_LAB_KNEE = 6 / 29
_ROUNDING = 1e-12  # of light

Values = TypeVar("Values", np.ndarray, Tensor)


def difference(
    color: str, mean_luminance: ArrayLike, *, encoding: str = "linear", **components: ArrayLike
) -> np.ndarray:
    """What is added to a grey background, at contrast 1, to get the color asked for.

    The color is

    - ``"luminance"``: as much grey again, so that contrast is Michelson's.
    - ``"dkl"``: a direction around the background in the space of Derrington, Krauskopf & Lennie
      (1984). ``azimuth`` 0 is +(L - M) at constant S and luminance, 90 is +S at constant L and M;
      ``elevation`` 90 is +luminance at constant chromaticity, and elevation 0 is isoluminant.
      Contrast 1 along each of these three axes is the most that the display can show both ways
      around the background, as in their paper and in PsychoPy: the axes have no common unit, and
      the angles between them depend on the display. Between the axes a little less may fit; 0.98
      does at every azimuth of elevation 0. What the cones then see is given by
      ``cone_contrasts(mean_luminance + difference, mean_luminance)``; on mid-grey L sees 7.3 % and
      M -13.9 % at azimuth 0, and S sees 85.9 % at azimuth 90.
    - ``"cones"``: ``cone_l``, ``cone_m`` and ``cone_s`` are the contrasts of the cones,
      (L - L of the background) / (L of the background) and so on.
    - ``"hsl"``, ``"hsv"``: the color of a ``hue`` (degrees), ``saturation`` and ``lightness`` or
      ``value`` (0 to 1), which say what the pixels are. Where pixels are encoded as sRGB, they are
      decoded here, and are the same pixels again once the image is encoded.
    - ``"lab"``, ``"lch"``: the color of a ``lab_lightness`` (0 to 100) with ``lab_a`` and
      ``lab_b``, or with ``chroma`` and ``lab_hue`` (degrees), in CIELAB with the display's white.

    Parameters
    ----------
    color : a key of ``COLORS``.
    mean_luminance : of the background, 0 to 1.
    encoding : of the image to be: ``"linear"``, where pixels are light, or ``"srgb"``.
    components : of the color, by the names in ``COLORS[color]``, each a number or a vector.

    Returns
    -------
    Linear rgb, (stimulus, 3). Of a color that a display cannot show it goes beyond what
    :func:`largest_contrast` allows.

    Raises
    ------
    KeyError : for another color, and for a component that it does not have or that is missing.
    ValueError : for "dkl" and "cones" on a background that allows no such contrast.

    References
    ----------
    Derrington, Krauskopf & Lennie (1984), Journal of Physiology 357:241.
    Smith & Pokorny (1975), Vision Research 15:161.

    Examples
    --------
    >>> difference("hsl", 0.5, hue=[0, 120], saturation=1, lightness=0.5)
    array([[ 0.5, -0.5, -0.5],
           [-0.5,  0.5, -0.5]])
    """
    if color not in COLORS:
        raise KeyError(f"no color {color!r}; did you mean {nearest(color, COLORS)}?")
    known = COLORS[color]
    if unknown := [name for name in components if name not in known]:
        has = ", ".join(known) or "none"
        raise KeyError(f"{unknown[0]!r} is no component of color={color!r}; it has {has}")
    defaults = {name: one.default for name, one in known.items() if one.default is not None}
    given = {**defaults, **components}
    if missing := [name for name in known if name not in given]:
        raise KeyError(f"color={color!r} needs {', '.join(missing)}")
    grey, *values = vectors(mean_luminance, *(given[name] for name in known))
    components_of_each = np.reshape(values, (len(values), grey.size)).T
    if color in _PIXELS:
        pixels = _PIXELS[color](components_of_each)
        return (decode_srgb(pixels) if encoding == "srgb" else pixels) - grey[:, None]
    return _DIFFERENCES[color](grey[:, None], components_of_each)


def largest_contrast(
    background: np.ndarray, difference: np.ndarray, low: ArrayLike = -1.0, high: ArrayLike = 1.0
) -> np.ndarray:
    """By how much a modulation can be multiplied before the display runs out of light.

    The largest c such that background + c low difference and background + c high difference are
    within 0 to 1 in red, green and blue; infinite where nothing is added to the background.

    Parameters
    ----------
    background : rgb within 0 to 1, (stimulus, 3).
    difference : rgb, (stimulus, 3), of which up to 1e-12 is taken for the rounding of 0.
    low, high : the extremes of the modulation: a number each, or (stimulus,).

    Returns
    -------
    (stimulus,)
    """
    extremes = np.stack(vectors(low, high))[..., None] * difference  # (2, stimulus, 3)
    room = np.where(extremes > 0, 1 - background, background)
    added = np.abs(extremes)
    limit = np.full(added.shape, np.inf)
    np.divide(room, added, out=limit, where=added > _ROUNDING)
    return limit.min(axis=(0, -1))


def cone_contrasts(rgb: ArrayLike, background: ArrayLike) -> np.ndarray:
    """Contrasts of the L, M and S cones: by how much a light excites them more than a background,
    as a fraction of what the background does.

    Parameters
    ----------
    rgb : linear.
    background : linear rgb, or a number for a grey. On black a contrast is NaN.
    """
    grey = np.broadcast_to(np.asarray(background, float), np.shape(rgb))
    excitation = xyz_to_lms(rgb_to_xyz(grey))
    added = xyz_to_lms(rgb_to_xyz(np.asarray(rgb, float) - grey))
    return added / np.where(excitation > 0, excitation, np.nan)


def luminance(rgb: ArrayLike) -> np.ndarray:
    """Relative luminance Y of linear rgb, 1 for white: the last axis is gone."""
    return np.asarray(rgb, float) @ LUMINANCE_WEIGHTS


def encode_srgb(light: Values) -> Values:
    """Pixels that show linear light on an sRGB display (IEC 61966-2-1), of any shape.

    12.92 light up to 0.0031308, and 1.055 light^(1/2.4) - 0.055 above it. Takes arrays, and tensors
    on their device.
    """
    where: Any = torch.where if isinstance(light, Tensor) else np.where
    power = 1.055 * light.clip(_KNEE) ** (1 / 2.4) - 0.055
    return where(light <= _KNEE, 12.92 * light, power)


def decode_srgb(pixels: Values) -> Values:
    """The linear light of pixels on an sRGB display, of any shape: undoes :func:`encode_srgb`.

    The standard's constants are rounded, so it does so to 3e-9 around the knee of the curve.
    """
    where: Any = torch.where if isinstance(pixels, Tensor) else np.where
    power = ((pixels.clip(_ENCODED_KNEE) + 0.055) / 1.055) ** 2.4
    return where(pixels <= _ENCODED_KNEE, pixels / 12.92, power)


def rgb_to_xyz(rgb: ArrayLike) -> np.ndarray:
    """CIE 1931 XYZ of linear rgb."""
    return np.asarray(rgb, float) @ RGB_TO_XYZ.T


def xyz_to_rgb(xyz: ArrayLike) -> np.ndarray:
    """Linear rgb of CIE 1931 XYZ; outside 0 to 1 for what the display cannot show."""
    return np.asarray(xyz, float) @ np.linalg.inv(RGB_TO_XYZ).T


def xyz_to_lms(xyz: ArrayLike) -> np.ndarray:
    """Excitations of the L, M and S cones by Smith & Pokorny (1975); L + M is luminance."""
    return np.asarray(xyz, float) @ XYZ_TO_LMS.T


def hsl_to_srgb(hsl: ArrayLike) -> np.ndarray:
    """Pixels of a hue (degrees), saturation and lightness (0 to 1)."""
    hue, saturation, lightness = np.moveaxis(np.asarray(hsl, float)[..., None], -2, 0)
    chroma = saturation * (1 - abs(2 * lightness - 1))
    return np.clip(lightness + chroma * (_pure(hue) - 0.5), 0, 1)  # only what rounding leaves


def hsv_to_srgb(hsv: ArrayLike) -> np.ndarray:
    """Pixels of a hue (degrees), saturation and value (0 to 1)."""
    hue, saturation, value = np.moveaxis(np.asarray(hsv, float)[..., None], -2, 0)
    return value * (1 - saturation * (1 - _pure(hue)))


def lab_to_xyz(lab: ArrayLike) -> np.ndarray:
    """CIE XYZ of CIELAB (CIE 15) with the white of an sRGB display, D65."""
    lightness, a, b = np.moveaxis(np.asarray(lab, float), -1, 0)
    y = (lightness + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    linear = 3 * _LAB_KNEE**2 * (root - 4 / 29)
    return np.where(root > _LAB_KNEE, root**3, linear) * WHITE_XYZ


def lch_to_lab(lch: ArrayLike) -> np.ndarray:
    """CIELAB of a lightness, chroma and hue (degrees)."""
    lightness, chroma, hue = np.moveaxis(np.asarray(lch, float), -1, 0)
    angle = np.deg2rad(hue)
    return np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1)


def _pure(hue: np.ndarray) -> np.ndarray:
    """The pixels of full saturation and value; hue is (..., 1) in degrees."""
    sector = (hue / 60 + np.array([0, 4, 2])) % 6
    return np.clip(abs(sector - 3) - 1, 0, 1)


def _dkl(grey: np.ndarray, angles: np.ndarray) -> np.ndarray:
    if (bad := ~((grey > 0) & (grey < 1))).any():
        raise ValueError(
            f"mean_luminance={grey[bad][0]:g} leaves no room around it for color='dkl'; use one "
            "between 0 and 1, or color='hsl'"
        )
    azimuth, elevation = np.deg2rad(angles).T
    along = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)]
    direction = np.stack([*along, np.sin(elevation)], axis=-1)
    return np.minimum(grey, 1 - grey) * (direction @ CARDINAL)


def _cones(grey: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    if (bad := ~(grey > 0)).any():
        raise ValueError(
            f"mean_luminance={grey[bad][0]:g} excites no cone, so color='cones' has no contrast; "
            "use one above 0, or color='hsl'"
        )
    return grey * contrasts * WHITE_LMS @ np.linalg.inv(RGB_TO_LMS).T


_DIFFERENCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "luminance": lambda grey, _: np.repeat(grey, 3, axis=1),
    "dkl": _dkl,
    "cones": _cones,
    "lab": lambda grey, lab: xyz_to_rgb(lab_to_xyz(lab)) - grey,
    "lch": lambda grey, lch: xyz_to_rgb(lab_to_xyz(lch_to_lab(lch))) - grey,
}
_PIXELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"hsl": hsl_to_srgb, "hsv": hsv_to_srgb}
