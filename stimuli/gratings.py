"""Sinusoidal gratings, full-field and in a Gaussian window.

A grating is the plane wave cos(2 pi f u + phase) with u = y cos(orientation) - x sin(orientation):
the distance from the origin at right angles to the bars. It is a sum of two products of a function
of x and a function of y, so cosines are taken per row and per column, not per pixel.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.visual_field import VisualField


def grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Full-field sinusoidal gratings: mean_luminance (1 + contrast cos(2 pi f u + phase)).

    Parameters
    ----------
    field : where the pixels lie.
    spatial_frequency : cycles per degree, from 0 to below the field's Nyquist limit.
    orientation : direction of the bars, degrees counter-clockwise from horizontal.
    phase : of the cosine at the origin, degrees.
    contrast : Michelson, 0 to 1.
    mean_luminance : 0 to 1, and low enough for the brightest bar not to exceed 1.
    device : where to draw.

    Each parameter is a number, or a vector with one number per stimulus.

    Returns
    -------
    float32 luminances in [0, 1], (stimulus, 1, y, x).

    Raises
    ------
    ValueError : for a parameter out of its range.
    """
    check_grating(
        field,
        spatial_frequency=spatial_frequency,
        orientation=orientation,
        phase=phase,
        contrast=contrast,
        mean_luminance=mean_luminance,
    )
    wave = _Wave(field, spatial_frequency, orientation, phase)
    return wave.draw(contrast, mean_luminance, device)


def gabor(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    envelope_sd: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Gabor patches: gratings whose contrast falls off around the origin as a round Gaussian.

    mean_luminance (1 + contrast exp(-(x^2 + y^2) / (2 envelope_sd^2)) cos(2 pi f u + phase)), so
    ``contrast`` is that of the carrier at the origin.

    Parameters
    ----------
    envelope_sd : standard deviation of the Gaussian, degrees.

    The others, the result and what is refused are those of :func:`grating`.
    """
    check_gabor(
        field,
        spatial_frequency=spatial_frequency,
        envelope_sd=envelope_sd,
        orientation=orientation,
        phase=phase,
        contrast=contrast,
        mean_luminance=mean_luminance,
    )
    wave = _Wave(field, spatial_frequency, orientation, phase)
    variance = 2 * np.square(_column(envelope_sd))
    wave.along_x = wave.along_x * np.exp(-(field.x**2) / variance)[:, None]
    wave.along_y = wave.along_y * np.exp(-(field.y**2) / variance)[:, None]
    return wave.draw(contrast, mean_luminance, device)


def check_grating(
    field: VisualField,
    *,
    spatial_frequency: ArrayLike,
    orientation: ArrayLike = 0.0,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike = 1.0,
    mean_luminance: ArrayLike = 0.5,
) -> None:
    """Refuse, with a ValueError, a grating that the field cannot show as asked."""
    for name, value in [("orientation", orientation), ("phase", phase)]:
        if not np.isfinite(value).all():
            raise ValueError(f"{name}={_first(value, ~np.isfinite(value))} is not a number")
    frequency, contrast, mean = map(
        np.asarray, np.broadcast_arrays(spatial_frequency, contrast, mean_luminance)
    )
    if (bad := ~(frequency >= 0)).any():
        raise ValueError(f"spatial_frequency={_first(frequency, bad)} is below 0")
    if (bad := frequency >= field.nyquist).any():
        value = float(frequency[bad].max())
        raise ValueError(
            f"spatial_frequency={value} is not below the Nyquist limit of {field.nyquist:g} "
            f"cycles/degree; use a finer field (pixels_per_degree > {2 * value:g}: more pixels or "
            "fewer degrees)"
        )
    if (bad := ~((contrast >= 0) & (contrast <= 1))).any():
        raise ValueError(f"contrast={_first(contrast, bad)} is outside 0 to 1")
    if (bad := ~((mean >= 0) & (mean * (1 + contrast) <= 1 + 1e-12))).any():
        value, limit = _first(mean, bad), 1 / (1 + contrast[bad][0])
        raise ValueError(
            f"mean_luminance={value} is outside 0 to {limit:g}, where luminances at "
            f"contrast={contrast[bad][0]:g} stay within 0 to 1"
        )


def check_gabor(field: VisualField, *, envelope_sd: ArrayLike, **parameters: ArrayLike) -> None:
    """Refuse, with a ValueError, a Gabor patch that the field cannot show as asked."""
    check_grating(field, **parameters)
    sd = np.asarray(envelope_sd)
    if (bad := ~((sd > 0) & np.isfinite(sd))).any():
        raise ValueError(f"envelope_sd={_first(sd, bad)} is not above 0")


class _Wave:
    """cos(2 pi f u + phase) = cos(a + b) = cos a cos b - sin a sin b, with a in x and b in y."""

    def __init__(
        self,
        field: VisualField,
        spatial_frequency: ArrayLike,
        orientation: ArrayLike,
        phase: ArrayLike,
    ) -> None:
        angular = 2 * np.pi * _column(spatial_frequency)  # (stimulus, 1)
        orientation, phase = np.deg2rad(_column(orientation)), np.deg2rad(_column(phase))
        a = -angular * np.sin(orientation) * field.x + phase
        b = angular * np.cos(orientation) * field.y
        self.along_x = np.stack([np.cos(a), -np.sin(a)], axis=1)  # (stimulus, 2, x)
        self.along_y = np.stack([np.cos(b), np.sin(b)], axis=1)  # (stimulus, 2, y)

    def draw(
        self, contrast: ArrayLike, mean_luminance: ArrayLike, device: torch.device | str
    ) -> Tensor:
        mean = _column(mean_luminance)[:, None]  # (stimulus, 1, 1)
        along_y = _tensor(mean * _column(contrast)[:, None] * self.along_y, device)[..., None]
        along_x = _tensor(self.along_x, device)[:, :, None]
        # Not a matrix product, which rounds differently for a crop of the field.
        images = along_y[:, 0] * along_x[:, 0]  # (stimulus, y, x)
        images = images.add_(along_y[:, 1] * along_x[:, 1]) + _tensor(mean, device)
        return images[:, None].clamp_(0, 1)  # only what rounding leaves beyond 0 or 1


def _tensor(values: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)


def _column(values: ArrayLike) -> np.ndarray:
    """One row per stimulus: (stimulus, 1), float64."""
    return np.atleast_1d(np.asarray(values, float))[:, None]


def _first(values: ArrayLike, bad: np.ndarray) -> float:
    return float(np.asarray(values)[bad].flat[0])
