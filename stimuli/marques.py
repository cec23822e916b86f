"""The gratings of Marques, Schrimpf & DiCarlo (2021), as Brain-Score shows them to a model.

They are drawn on a canvas of 12 by 12 degrees and 672 by 672 pixels of 8 bits, of which a model
sees the middle, as many degrees as its image covers, resized to its image. With the pixel at column
i and row j (downward) at (i - 336) / 56 and (j - 336) / 56 degrees from where the aperture is, a
pixel with column^2 + row^2 <= radius^2 is

    uint8(((sin(2 pi f (column cos(theta) + row sin(theta)) + phi) contrast + 1) / 2) 255),

cut off and not rounded, and all others are 128. All is done here in the order of their code, so
that canvases are theirs to the bit.

Its oddities are kept. The middle of an aperture is that of a pixel and the middle of the screen is
between two: so the picture lies half a pixel of the canvas, 1/112 degree, to the right of and below
where it is said to be. Without contrast the aperture is 127 on 128.
Resizing blurs: of the contrast at 6.17 cycles per degree, 0.83 reaches an image of 28 pixels per
degree, and of that at 12.3, 0.46.

Parameters here have this package's meanings and not theirs: y is upward, orientation is that of the
bars, counter-clockwise, and phase is that of a cosine. :func:`from_theirs` translates.

References
----------
Marques, Schrimpf & DiCarlo (2021), bioRxiv 2021.03.01.433495; github.com/brain-score/vision.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from ephys.stimuli.parameters import vectors
from ephys.visual_field import VisualField

DEGREES = 12  # of the canvas
CANVAS_PX = 672
PIXELS_PER_DEGREE = CANVAS_PX / DEGREES
BACKGROUND = 128  # so that the mean luminance is 128 / 255
WHITE = 255


def marques_grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    radius: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The gratings as a model sees them: canvases resized to its screen, by 8 bits.

    Resizing is that of Brain-Score's preprocessing, Pillow's bilinear one, which is antialiased. On
    a background of mean_luminance = 128 / 255 pixels are a 255th of the resized canvas's.

    Parameters
    ----------
    field : where the pixels lie, the origin at the middle of the screen: these stimuli are not
        moved onto receptive fields. A part of the field shows that part of the whole screen.
    spatial_frequency : cycles per degree.
    radius : of the hard aperture, degrees.
    orientation : direction of the bars, degrees counter-clockwise from horizontal.
    phase : of the cosine at the middle of the aperture, degrees.
    contrast : Michelson, 0 to 1; theirs is always 1.
    x, y : middle of the aperture, degrees to the right of the screen's middle and above it, but for
        the half pixel of the canvas.
    device : where the result is.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 modulations of the background, (stimulus, y, x): (pixel - 128) / 128, which are exact.

    Raises
    ------
    ValueError : for a field whose origin was moved.
    """
    _require_the_middle(field)
    screen = field.screen
    canvases = canvas(
        spatial_frequency=spatial_frequency,
        radius=radius,
        orientation=orientation,
        phase=phase,
        contrast=contrast,
        x=x,
        y=y,
        degrees=screen.width,
    )
    left = round(field.right_px + (screen.width_px - field.width_px) / 2)
    top = round((screen.height_px - field.height_px) / 2 - field.up_px)
    rows, columns = slice(top, top + field.height_px), slice(left, left + field.width_px)
    shown = np.empty((len(canvases), field.height_px, field.width_px), np.uint8)
    for image, own in zip(shown, canvases, strict=True):
        size = (screen.width_px, screen.height_px)
        resized = Image.fromarray(own).resize(size, Image.Resampling.BILINEAR)
        image[:] = np.asarray(resized)[rows, columns]
    pixels = torch.from_numpy(shown).to(device).float()
    return pixels.sub_(BACKGROUND).div_(BACKGROUND)


def canvas(
    *,
    spatial_frequency: ArrayLike,
    radius: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    degrees: float = DEGREES,
) -> np.ndarray:
    """What there is to be resized: the pixels of the canvas.

    Parameters
    ----------
    degrees : how much of the canvas, around its middle, as Brain-Score places it on a screen: 8
        degrees are the middle 448 pixels, and beyond 12 there is more background.

    The others are those of :func:`marques_grating`.

    Returns
    -------
    uint8 (stimulus, row, column), of 56 pixels per degree, rounded.
    """
    frequency, radius, orientation, phase, contrast, x, y = vectors(
        spatial_frequency, radius, orientation, phase, contrast, x, y
    )
    theta, phi = _theirs(orientation, phase)
    seen = round(degrees / DEGREES * CANVAS_PX)
    edge = round((CANVAS_PX - seen) / 2)  # of the canvas that is cut off
    index = np.arange(max(edge, 0), min(edge + seen, CANVAS_PX))
    place = (index - CANVAS_PX / 2) / PIXELS_PER_DEGREE
    pixels = np.full((frequency.size, seen, seen), BACKGROUND, np.uint8)
    for i, image in enumerate(pixels):
        column, row = place - x[i], place + y[i]
        columns, rows = _within(column, radius[i]), _within(row, radius[i])
        column, row = column[columns], row[rows, None]
        angle, shift = theta[i] / 180 * np.pi, phi[i] / 180 * np.pi
        along = column * np.cos(angle) + row * np.sin(angle)
        wave = np.sin(along * frequency[i] * 2 * np.pi + shift) * contrast[i]
        inside = column**2 + row**2 <= radius[i] ** 2
        drawn = np.where(inside, ((wave + 1) / 2) * WHITE, BACKGROUND).astype(np.uint8)
        image[max(-edge, 0) :, max(-edge, 0) :][rows, columns] = drawn
    return pixels


def from_theirs(
    *,
    orientation: ArrayLike,
    phase: ArrayLike,
    position_x: ArrayLike = 0.0,
    position_y: ArrayLike = 0.0,
) -> dict[str, np.ndarray]:
    """This package's orientation, phase, x and y of a grating of Brain-Score's.

    Theirs are the direction at right angles to the bars, degrees clockwise; the phase of a sine
    along this direction; and degrees to the right and downward.

    Examples
    --------
    >>> from_theirs(orientation=0, phase=[0, 90])["phase"]
    array([90.,  0.])
    """
    theta, phi, x, down = vectors(orientation, phase, position_x, position_y)
    # Both translations are the one reflection, at right angles to itself.
    own, shifted = (90 - theta) % 180, np.where(_turned_round(theta), phi - 90, 90 - phi) % 360
    return {"orientation": own, "phase": shifted, "x": x, "y": -down}


def check_marques_grating(
    field: VisualField, *, spatial_frequency: ArrayLike, **others: ArrayLike
) -> None:
    """Refuse, with a ValueError, a grating that the field cannot show as asked."""
    _require_the_middle(field)
    if field.screen_height_px != field.screen_width_px:
        raise ValueError(
            f"the screen has {field.screen_width_px} x {field.screen_height_px} pixels, and these "
            "gratings are resized to a square one; use other gratings"
        )
    limit = PIXELS_PER_DEGREE / 2
    (frequency,) = vectors(spatial_frequency)
    if (bad := frequency >= limit).any():
        raise ValueError(
            f"spatial_frequency={frequency[bad][0]:g} is not below the Nyquist limit of the canvas "
            f"of these gratings, {limit:g} cycles/degree; use a lower one"
        )


def range_marques_grating(
    *, contrast: ArrayLike = 1.0, **others: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest modulation, those of the darkest and the lightest pixel of 8 bits."""
    (contrast,) = vectors(contrast)
    low, high = (np.floor((sign * contrast + 1) / 2 * WHITE) / BACKGROUND - 1 for sign in (-1, 1))
    return low, np.maximum(high, 0)


def _theirs(orientation: np.ndarray, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """theta and phi, degrees."""
    phi = np.where(_turned_round(orientation), phase + 90, 90 - phase) % 360
    return (90 - orientation) % 180, phi


def _turned_round(orientation: np.ndarray) -> np.ndarray:
    """Whether 90 - orientation is brought within 0 to 180 by an odd number of half turns."""
    return (90 - orientation) // 180 % 2 == 1


def _within(place: np.ndarray, radius: float) -> slice:
    """Where places, which ascend, are no farther than a radius."""
    found = np.flatnonzero(abs(place) <= radius)
    return slice(found[0], found[-1] + 1) if found.size else slice(0)


def _require_the_middle(field: VisualField) -> None:
    if (field.origin_x, field.origin_y) != (0, 0):
        raise ValueError(
            f"the origin was moved to ({field.origin_x:g}, {field.origin_y:g}) degrees, and these "
            "gratings stay where their authors put them; record them with centered=False"
        )
