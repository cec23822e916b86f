"""Gratings: sine and square waves, moving or still, two of them crossed, or one around another.

A grating is the plane wave cos(2 pi f u + phase) with u = y cos(orientation) - x sin(orientation):
the distance from the stimulus's centre at right angles to the bars. Such a wave is a sum of two
products of a function of x and a function of y, so cosines are taken per row and per column, not
per pixel.

Every function here draws a *modulation*: 0 is the background, and 1 what is to be added to it at
full contrast (see :class:`~ephys.stimuli.sweep.StimulusSet`). Each parameter is a number, or a
vector with one number per stimulus; the result is float32 (stimulus, y, x).
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.stimuli.apertures import aperture
from ephys.stimuli.parameters import column, tensor, vectors
from ephys.visual_field import VisualField


def grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Sinusoidal grating: contrast cos(2 pi f u + phase).

    Parameters
    ----------
    field : where the pixels lie.
    spatial_frequency : cycles per degree, from 0 to below the field's Nyquist limit.
    orientation : direction of the bars, degrees counter-clockwise from horizontal.
    phase : of the cosine at the centre, degrees.
    contrast : Michelson, 0 to 1.
    x, y : centre, degrees from the origin.
    device : where to draw.
    """
    return _wave(field, spatial_frequency, orientation, phase, contrast, x, y, device)


def gabor(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    envelope_sd: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Gabor patch: a grating whose contrast falls off around the centre as a round Gaussian.

    contrast exp(-(x^2 + y^2) / (2 envelope_sd^2)) cos(2 pi f u + phase), so that ``contrast`` is
    that of the carrier at the centre.

    Parameters
    ----------
    envelope_sd : standard deviation of the Gaussian, degrees.

    The others are those of :func:`grating`.
    """
    return _wave(field, spatial_frequency, orientation, phase, contrast, x, y, device, envelope_sd)


def square_grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Square-wave grating: light where the cosine of :func:`grating` is not below 0, else dark.

    A pixel shows the bar that its centre is in, so that luminances are exactly the two asked for;
    where half a period is no whole number of pixels, some bars are a pixel wider than others.
    """
    wave = _wave(field, spatial_frequency, orientation, phase, 1.0, x, y, device)
    amplitude = tensor(column(contrast), device)[:, :, None]
    # What rounding leaves of a cosine that is 0 counts as 0.
    return torch.where(wave >= -1e-6, amplitude, -amplitude)


def drifting_grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    temporal_frequency: ArrayLike,
    direction: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    time: ArrayLike = 0.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A frame of a sinusoidal grating that moves at right angles to its bars.

    contrast cos(2 pi (f s - temporal_frequency time) + phase), with s = x cos(direction) + y
    sin(direction).

    Parameters
    ----------
    temporal_frequency : Hz, 0 or more.
    direction : of motion, degrees counter-clockwise from rightward.
    time : seconds.

    The others are those of :func:`grating`.
    """
    cycles = np.asarray(temporal_frequency, float) * np.asarray(time, float)
    orientation = np.asarray(direction, float) - 90
    moved = np.asarray(phase, float) - 360 * cycles
    return _wave(field, spatial_frequency, orientation, moved, contrast, x, y, device)


def counterphase_grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    temporal_frequency: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    time: ArrayLike = 0.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A frame of a sinusoidal grating whose contrast reverses in place.

    contrast cos(2 pi temporal_frequency time) cos(2 pi f u + phase).

    Parameters
    ----------
    temporal_frequency : Hz, 0 or more.
    time : seconds.

    The others are those of :func:`grating`.
    """
    cycles = np.asarray(temporal_frequency, float) * np.asarray(time, float)
    now = np.asarray(contrast, float) * np.cos(2 * np.pi * cycles)
    return _wave(field, spatial_frequency, orientation, phase, now, x, y, device)


def plaid(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    mask_contrast: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    mask_angle: ArrayLike = 90.0,
    mask_spatial_frequency: ArrayLike = np.nan,
    mask_phase: ArrayLike = 0.0,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Two sinusoidal gratings added, each with a contrast of its own.

    Parameters
    ----------
    mask_contrast : of the second grating; the two contrasts together are at most 1.
    mask_angle : from the orientation of the first grating to that of the second, degrees
        counter-clockwise.
    mask_spatial_frequency : NaN for that of the first.
    mask_phase : of the second, degrees.

    The others are those of the first, as in :func:`grating`.
    """
    frequency, own = vectors(spatial_frequency, mask_spatial_frequency)
    first = _wave(field, frequency, orientation, phase, contrast, x, y, device)
    crossed = np.asarray(orientation, float) + np.asarray(mask_angle, float)
    own = np.where(np.isnan(own), frequency, own)
    return first + _wave(field, own, crossed, mask_phase, mask_contrast, x, y, device)


def range_plaid(
    *, contrast: np.ndarray, mask_contrast: np.ndarray, **others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest modulation of a plaid."""
    return -(contrast + mask_contrast), contrast + mask_contrast


def center_surround(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    center_diameter: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    surround_contrast: ArrayLike = np.nan,
    surround_angle: ArrayLike = 0.0,
    surround_spatial_frequency: ArrayLike = np.nan,
    surround_phase: ArrayLike = np.nan,
    surround_inner_diameter: ArrayLike = np.nan,
    x: ArrayLike = 0.0,
    y: ArrayLike = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A disc with one grating, and another grating around it.

    The surround reaches as far as the aperture (``diameter``), or the field, does. The border
    between the two is hard.

    Parameters
    ----------
    center_diameter : of the disc, degrees.
    surround_contrast, surround_spatial_frequency, surround_phase : of the surround; NaN for what
        the centre has.
    surround_angle : from the orientation of the centre to that of the surround, degrees
        counter-clockwise.
    surround_inner_diameter : where the surround begins; NaN for at the border of the centre.

    The others are those of the centre, as in :func:`grating`.
    """
    frequency, phase, contrast, own_frequency, own_phase, own_contrast, inner, size = vectors(
        *(spatial_frequency, phase, contrast, surround_spatial_frequency),
        *(surround_phase, surround_contrast, surround_inner_diameter, center_diameter),
    )
    turned = np.asarray(orientation, float) + np.asarray(surround_angle, float)
    own_frequency = np.where(np.isnan(own_frequency), frequency, own_frequency)
    own_phase = np.where(np.isnan(own_phase), phase, own_phase)
    own_contrast = np.where(np.isnan(own_contrast), contrast, own_contrast)
    center = aperture(field, diameter=size, x=x, y=y, device=device)
    # Complements of one mask where they meet, so that no pixel has both or neither.
    within = center
    if np.isfinite(inner).any():
        within = aperture(
            field, diameter=np.where(np.isnan(inner), size, inner), x=x, y=y, device=device
        )
    disc = _wave(field, frequency, orientation, phase, contrast, x, y, device)
    ring = _wave(field, own_frequency, turned, own_phase, own_contrast, x, y, device)
    return disc * center + ring * (1 - within)


def range_center_surround(
    *, contrast: np.ndarray, surround_contrast: np.ndarray, **others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest modulation of a centre and its surround."""
    highest = np.fmax(contrast, surround_contrast)
    return -highest, highest


def check_center_surround(
    field: VisualField,
    *,
    center_diameter: np.ndarray,
    surround_inner_diameter: np.ndarray,
    **others: np.ndarray,
) -> None:
    """Refuse, with a ValueError, a centre that the screen cannot hold, or a surround within it."""
    size = min(field.screen.width, field.screen.height)
    if (bad := center_diameter > size * (1 + 1e-9)).any():
        raise ValueError(
            f"center_diameter={center_diameter[bad][0]:g} reaches beyond the field of {size:g} "
            "degrees; use a smaller one, or a larger field (more degrees)"
        )
    if (bad := surround_inner_diameter < center_diameter).any():
        raise ValueError(
            f"surround_inner_diameter={surround_inner_diameter[bad][0]:g} is below "
            f"center_diameter={center_diameter[bad][0]:g}; a surround lies around its centre"
        )


def _wave(
    field: VisualField,
    spatial_frequency: ArrayLike,
    orientation: ArrayLike,
    phase: ArrayLike,
    amplitude: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    device: torch.device | str,
    envelope_sd: ArrayLike = np.inf,
) -> Tensor:
    """amplitude cos(2 pi f u + phase), as cos(a + b) = cos a cos b - sin a sin b.

    A round Gaussian, too, is a function of x times one of y.
    """
    across, up = field.x - column(x), field.y - column(y)  # (stimulus, n)
    angular = 2 * np.pi * column(spatial_frequency)  # (stimulus, 1)
    orientation, phase = np.deg2rad(column(orientation)), np.deg2rad(column(phase))
    a = -angular * np.sin(orientation) * across + phase
    b = angular * np.cos(orientation) * up
    falloff = -1 / (2 * column(envelope_sd) ** 2)
    over_x = np.exp(falloff * across**2)[:, None]  # (stimulus, 1, x)
    over_y = column(amplitude)[:, None] * np.exp(falloff * up**2)[:, None]
    along_x = tensor(over_x * np.stack([np.cos(a), -np.sin(a)], axis=1), device)[:, :, None]
    along_y = tensor(over_y * np.stack([np.cos(b), np.sin(b)], axis=1), device)[..., None]
    # Not a matrix product, which rounds differently for a crop of the field.
    return (along_y[:, 0] * along_x[:, 0]).add_(along_y[:, 1] * along_x[:, 1])  # (stimulus, y, x)
