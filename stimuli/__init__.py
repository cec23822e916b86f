"""Stimuli: what the model is shown. Angles in degrees, luminances from 0 to 1."""

from ephys.stimuli import protocols
from ephys.stimuli.gratings import gabor, grating
from ephys.stimuli.noises import sparse_noise, white_noise
from ephys.stimuli.sweep import StimulusSet, blank, sweep

__all__ = [
    "StimulusSet",
    "blank",
    "gabor",
    "grating",
    "protocols",
    "sparse_noise",
    "sweep",
    "white_noise",
]
