"""Models: what can be put on the rig, and how the shipped ones were trained."""

from ephys.models.channel_norm import ChannelGroupNorm
from ephys.models.divnormei import DivNormEI
from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import InputFormat
from ephys.models.sources import load
from ephys.models.superres import SuperResolution, SuperResolutionSettings
from ephys.models.vgg import VGG

__all__ = [
    "VGG",
    "ChannelGroupNorm",
    "DivNormEI",
    "GaborBank",
    "InputFormat",
    "SuperResolution",
    "SuperResolutionSettings",
    "load",
]
