"""Stimuli: what the model is shown. Angles in degrees, luminances from 0 to 1."""

from ephys.stimuli import protocols
from ephys.stimuli.gratings import (
    center_surround,
    counterphase_grating,
    drifting_grating,
    gabor,
    grating,
    plaid,
    square_grating,
)
from ephys.stimuli.noises import filtered_noise, sparse_noise, white_noise
from ephys.stimuli.patches import bar, checkerboard, patch
from ephys.stimuli.photographs import photograph
from ephys.stimuli.sweep import StimulusSet, blank, paired, sweep

__all__ = [
    "StimulusSet",
    "bar",
    "blank",
    "center_surround",
    "checkerboard",
    "counterphase_grating",
    "drifting_grating",
    "filtered_noise",
    "gabor",
    "grating",
    "paired",
    "patch",
    "photograph",
    "plaid",
    "protocols",
    "sparse_noise",
    "square_grating",
    "sweep",
    "white_noise",
]
