"""Shapes: a uniform patch, a bar and a checkerboard.

A pixel shows the side of an edge that its centre is on; a centre on the edge itself counts as a
hair to the right of it and above it. So shapes laid side by side cover every pixel once, and the
pixels of a shape are right on average over the places that it may be at.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.stimuli.parameters import vectors
from ephys.visual_field import VisualField

# In pixels: far above what rounding does to a position, far below what is seen. Not alike, or
# edges at -45 degrees would run along it.
HAIR = (1e-6, 3e-7)


def patch(
    field: VisualField,
    *,
    polarity: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A uniform field, of modulation polarity contrast; in an aperture a spot, a disc or a ring.

    Parameters
    ----------
    field : where the pixels lie.
    polarity : 1 for light, -1 for dark.
    contrast : Weber, 0 to 1.
    x, y : the middle of the aperture, degrees to the right of the origin and above it; a patch
        itself has no middle.
    device : where to draw.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 modulations of the background, (stimulus, y, x).
    """
    polarity, contrast, *_ = vectors(polarity, contrast, x, y)
    inside = np.ones((polarity.size, field.height_px, field.width_px), np.int8)
    return _draw(inside, polarity * contrast, device)


def bar(
    field: VisualField,
    *,
    length: ArrayLike,
    width: ArrayLike,
    orientation: ArrayLike = 0.0,
    polarity: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A bar, of modulation polarity contrast; 0 around it.

    Parameters
    ----------
    field : where the pixels lie.
    length, width : of its long and its short side, degrees; at least a pixel.
    orientation : direction of its long side, degrees counter-clockwise from horizontal.
    polarity : 1 for a light bar, -1 for a dark one.
    contrast : Weber, 0 to 1.
    x, y : its middle, degrees to the right of the origin and above it.

    The others and the result are those of :func:`patch`.

    References
    ----------
    Hubel & Wiesel (1962), Journal of Physiology 160:106.
    """
    length, width, orientation, polarity, contrast, x, y = vectors(
        length, width, orientation, polarity, contrast, x, y
    )
    along, across = _turned(field, orientation, x, y)
    inside = (abs(along) < length[:, None, None] / 2) & (abs(across) < width[:, None, None] / 2)
    return _draw(inside, polarity * contrast, device)


def checkerboard(
    field: VisualField,
    *,
    check_size: ArrayLike,
    orientation: ArrayLike = 0.0,
    polarity: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Checks in turn light and dark, of modulations contrast and -contrast.

    Parameters
    ----------
    field : where the pixels lie.
    check_size : side of a check, degrees; at least a pixel.
    orientation : direction of the rows of checks, degrees counter-clockwise from horizontal.
    polarity : 1 where the check up and to the right of the centre is light (up and to the right
        as seen along the rows), -1 where it is dark.
    contrast : Michelson, 0 to 1.
    x, y : the centre, a corner of four checks, degrees to the right of the origin and above it.

    The others and the result are those of :func:`patch`.
    """
    size, orientation, polarity, contrast, x, y = vectors(
        check_size, orientation, polarity, contrast, x, y
    )
    row_and_column = sum(
        np.floor(position / size[:, None, None]) for position in _turned(field, orientation, x, y)
    )
    return _draw(1 - 2 * (row_and_column % 2), polarity * contrast, device)


def check_patch(field: VisualField, *, polarity: ArrayLike = 1.0, **others: ArrayLike) -> None:
    """Refuse, with a ValueError, a patch that the field cannot show as asked."""
    require_polarity(polarity)


def check_bar(
    field: VisualField,
    *,
    length: ArrayLike,
    width: ArrayLike,
    orientation: ArrayLike = 0.0,
    polarity: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    **others: ArrayLike,
) -> None:
    """Refuse, with a ValueError, a bar that the field cannot show as asked.

    Its ends have to be on the screen: of a bar that leaves it the length is not seen. Where the
    screen's origin was moved, onto a receptive field say, does not matter.
    """
    length, width, orientation, x, y = vectors(length, width, orientation, x, y)
    require_polarity(polarity)
    require_a_pixel(field, length=length, width=width)
    if (bad := width > length).any():
        raise ValueError(
            f"width={width[bad][0]} is above length={length[bad][0]}; the orientation is that of "
            "the longer side"
        )
    for name, side, turn in [("length", length, 0), ("width", width, 90)]:
        longest = _longest(field.screen, orientation + turn, x, y)
        if (bad := side > longest + HAIR[0] / field.pixels_per_degree).any():
            raise ValueError(
                f"{name}={side[bad][0]} leaves the screen for a bar of "
                f"orientation={orientation[bad][0]} at x={x[bad][0]}, y={y[bad][0]}, where at most "
                f"{longest[bad][0]:.4g} degrees fit; use a smaller bar, or a larger field"
            )


def check_checkerboard(
    field: VisualField, *, check_size: ArrayLike, polarity: ArrayLike = 1.0, **others: ArrayLike
) -> None:
    """Refuse, with a ValueError, a checkerboard that the field cannot show as asked."""
    require_a_pixel(field, check_size=check_size)
    require_polarity(polarity)


def range_patch(
    *, polarity: ArrayLike = 1.0, contrast: ArrayLike = 1.0, **others: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest modulation of a patch or a bar, the background around it included."""
    polarity, contrast = vectors(polarity, contrast)
    return np.minimum(polarity * contrast, 0), np.maximum(polarity * contrast, 0)


def require_polarity(polarity: ArrayLike) -> None:
    """Refuse, with a ValueError, a polarity that is neither 1 nor -1."""
    (polarity,) = vectors(polarity)
    if (bad := abs(polarity) != 1).any():
        raise ValueError(f"polarity={polarity[bad][0]} is neither 1, light, nor -1, dark")


def require_a_pixel(field: VisualField, **sizes: ArrayLike) -> None:
    """Refuse, with a ValueError, sizes in degrees below that of a pixel."""
    pixel = 1 / field.pixels_per_degree
    for name, size in sizes.items():
        (size,) = vectors(size)
        if (bad := ~((size >= pixel * (1 - HAIR[0])) & np.isfinite(size))).any():
            raise ValueError(
                f"{name}={size[bad][0]} is not a size from a pixel upward, of {pixel:g} degrees "
                "here; use a larger one, or a finer field"
            )


def _turned(
    field: VisualField, orientation: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels lie along an orientation and at right angles to it: (stimulus, y, x) each."""
    right, above = np.asarray(HAIR) / field.pixels_per_degree
    from_x = (field.x + right - x[:, None])[:, None, :]
    from_y = (field.y + above - y[:, None])[:, :, None]
    cos, sin = _direction(orientation)
    cos, sin = cos[:, None, None], sin[:, None, None]
    return from_x * cos + from_y * sin, from_y * cos - from_x * sin


def _longest(
    screen: VisualField, orientation: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """The longest line around a place that stays on the screen; below 0 beside the screen."""
    cos, sin = _direction(orientation)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # lines that meet no edge
        beside = (screen.width / 2 - abs(x)) / abs(cos)
        above = (screen.height / 2 - abs(y)) / abs(sin)
    return 2 * np.fmin(beside, above)


def _direction(orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of degrees, exactly 0 at the right angles."""
    cos, sin = np.cos(np.deg2rad(orientation)), np.sin(np.deg2rad(orientation))
    return np.where(orientation % 180 == 90, 0, cos), np.where(orientation % 180 == 0, 0, sin)


def _draw(shown: np.ndarray, amplitude: np.ndarray, device: torch.device | str) -> Tensor:
    scale = torch.from_numpy(amplitude.astype(np.float32)).to(device)[:, None, None]
    return torch.from_numpy(np.asarray(shown, np.int8)).to(device).float().mul_(scale)
