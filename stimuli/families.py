"""The families of stimuli, and every parameter that one can have."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ephys.stimuli.colors import COLORS
from ephys.stimuli.gratings import (
    center_surround,
    check_center_surround,
    counterphase_grating,
    drifting_grating,
    gabor,
    grating,
    plaid,
    range_center_surround,
    range_plaid,
    square_grating,
)
from ephys.stimuli.marques import (
    check_marques_grating,
    marques_grating,
    range_marques_grating,
)
from ephys.stimuli.noises import (
    check_filtered_noise,
    check_sparse_noise,
    check_white_noise,
    filtered_noise,
    range_filtered_noise,
    range_sparse_noise,
    sparse_noise,
    sparse_noise_pixels,
    white_noise,
    white_noise_pixels,
)
from ephys.stimuli.parameters import Parameter
from ephys.stimuli.patches import (
    bar,
    check_bar,
    check_checkerboard,
    check_patch,
    checkerboard,
    patch,
    range_patch,
)
from ephys.stimuli.photographs import check_photograph, photograph, range_photograph


@dataclass(frozen=True)
class Family:
    """How a kind of stimulus is drawn.

    Parameters
    ----------
    draw : gives modulations (stimulus, y, x), from the parameters in its signature.
    check : refuses, with a ValueError, what the ranges of single parameters do not tell.
    extremes : lowest and highest modulation; by default minus and plus the contrast.
    checks : for families made of checks, how many pixels a pixel shares its check with.
    absolute : it draws differences from the background in linear rgb, (stimulus, 3, y, x), instead
        of modulations.
    colored : it has colors of its own.
    fixed : it is made for a screen of its own, and not to be moved onto a receptive field.
    """

    draw: Callable[..., Tensor]
    check: Callable[..., None] | None = None
    extremes: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    checks: Callable[..., np.ndarray] | None = None
    absolute: bool = False
    colored: bool = False
    fixed: bool = False


FAMILIES = {
    "grating": Family(grating),
    "gabor": Family(gabor),
    "square_grating": Family(square_grating),
    "drifting_grating": Family(drifting_grating),
    "counterphase_grating": Family(counterphase_grating),
    "plaid": Family(plaid, extremes=range_plaid),
    "center_surround": Family(
        center_surround, check=check_center_surround, extremes=range_center_surround
    ),
    "patch": Family(patch, check_patch, range_patch),
    "bar": Family(bar, check_bar, range_patch),
    "checkerboard": Family(checkerboard, check_checkerboard),
    "white_noise": Family(white_noise, check=check_white_noise, checks=white_noise_pixels),
    "sparse_noise": Family(
        *(sparse_noise, check_sparse_noise, range_sparse_noise, sparse_noise_pixels)
    ),
    "filtered_noise": Family(filtered_noise, check_filtered_noise, range_filtered_noise),
    "photograph": Family(
        photograph, check_photograph, range_photograph, absolute=True, colored=True
    ),
    "marques_grating": Family(
        marques_grating, check_marques_grating, range_marques_grating, fixed=True
    ),
}

ANGLE, LENGTH, NUMBER = "degree", "degree", "1"
_FREQUENCY = Parameter("cycles degree-1", low=0)
_SIZE = Parameter(LENGTH, low=0, above=True)
_OPTIONAL_SIZE = Parameter(LENGTH, low=0, above=True, default=np.nan)
_POSITION = Parameter(LENGTH, default=0.0)
_CONTRAST = Parameter(NUMBER, low=0, high=1)
PARAMETERS: dict[str, Parameter] = {
    "orientation": Parameter(ANGLE, period=180),
    "direction": Parameter(ANGLE, period=360),
    "phase": Parameter(ANGLE, period=360),
    "spatial_frequency": _FREQUENCY,
    "temporal_frequency": Parameter("Hz", low=0),
    "time": Parameter("s"),
    "contrast": _CONTRAST,
    "mask_angle": Parameter(ANGLE, period=180),
    "mask_spatial_frequency": _FREQUENCY,
    "mask_phase": Parameter(ANGLE, period=360),
    "mask_contrast": _CONTRAST,
    "center_diameter": _SIZE,
    "surround_angle": Parameter(ANGLE, period=180),
    "surround_spatial_frequency": _FREQUENCY,
    "surround_phase": Parameter(ANGLE, period=360),
    "surround_contrast": _CONTRAST,
    "surround_inner_diameter": _SIZE,
    "length": _SIZE,
    "width": _SIZE,
    "check_size": _SIZE,
    "side": _SIZE,
    "polarity": Parameter(NUMBER, low=-1, high=1),
    "seed": Parameter(NUMBER, low=0, high=2**53),
    "low_frequency": _FREQUENCY,
    "high_frequency": _FREQUENCY,
    "spectral_slope": Parameter(NUMBER, low=-10, high=10),
    "period": _SIZE,
    "rms_contrast": Parameter(NUMBER, low=0),
    "file_row": Parameter(NUMBER, low=0),
    "file_column": Parameter(NUMBER, low=0),
    "luminance": Parameter(NUMBER, low=0, high=1, above=True),
    "radius": _SIZE,
    "mean_luminance": Parameter(NUMBER, low=0, high=1, default=0.5),
    "x": _POSITION,
    "y": _POSITION,
    "diameter": _OPTIONAL_SIZE,
    "inner_diameter": _OPTIONAL_SIZE,
    "edge_width": Parameter(LENGTH, low=0, default=np.nan),
    "envelope_sd": _OPTIONAL_SIZE,
    **{name: one for system in COLORS.values() for name, one in system.items()},
}
# What any stimulus can have: where it is, its aperture, and what it is added to.
WINDOW = ("diameter", "inner_diameter", "edge_width", "envelope_sd")
SHARED = ("mean_luminance", "x", "y", *WINDOW)
# What is said in words. ``file`` is a photograph's; ``part`` is a label of the experimenter's.
WORDS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "encoding": ("linear", "srgb"),
    "file": (),
    "part": (),
}
SHARED_WORDS = ("color", "encoding", "part")
