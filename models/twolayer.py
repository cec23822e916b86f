"""A two-layer CNN to classify small images with, under any normalization.

Made to ask what a normalization does to the filters of a first layer. Two convolutions, each
followed by a ReLU (or not), a normalization and a max-pool, and a linear readout. The placement is
that of the authors of CH-divnorm (github.com/anonymoustech1234/Divisive_Normalization, commit
d96bb47): convolution, ReLU, normalization, batch norm, pool. Their own two-layer network is not
public.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ephys.models.channel_norm import PHIS, ChannelGroupNorm, group_size
from ephys.models.input_format import InputFormat

Normalization = Literal["competition", "group", "layer", "local_response", "batch", "none"]
Initialization = Literal["kaiming", "kaiming_gaussian", "multivariate_gaussian"]
SPREAD = 0.01  # of the group-wise initializations, as in the authors' configurations


@dataclass(frozen=True)
class TwoLayerSettings:
    """What the network is made of.

    Parameters
    ----------
    normalization : ``"competition"`` (:class:`ChannelGroupNorm`), ``"group"`` norm over the same
        groups of channels, ``"layer"`` norm over all of them, AlexNet's ``"local_response"``
        normalization, each with batch norm after it; ``"batch"`` norm alone; ``"none"`` at all.
    rectified : whether a ReLU follows each convolution.
    initialization : see :func:`initialize`.
    groups_of : channels in a group; None for the rule of :func:`group_size`, 8 for 64 channels.
    filters, kernel_px, stride : of the first convolution; the stride in pixels.
    filters_2, kernel_2_px : of the second.
    classes : of images.
    size_px : side of the images.
    mean, std : of the training images, channel by channel, for values in [0, 1].
    phi : of the competition, see :class:`ChannelGroupNorm`.
    """

    normalization: Normalization = "competition"
    rectified: bool = False
    initialization: Initialization = "kaiming"
    groups_of: int | None = None
    filters: int = 64
    kernel_px: int = 7
    stride: int = 2
    filters_2: int = 128
    kernel_2_px: int = 3
    classes: int = 10
    size_px: int = 32
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    phi: str = "square"

    def __post_init__(self) -> None:
        for name in ("filters", "kernel_px", "stride", "filters_2", "kernel_2_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")
        for name in ("kernel_px", "kernel_2_px"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name}={getattr(self, name)} is even; a filter has a middle")
        if self.classes < 2:
            raise ValueError(f"classes={self.classes}; there are 2 or more to tell apart")
        if self.size_px < 4 * self.stride:
            raise ValueError(
                f"size_px={self.size_px} is below {4 * self.stride}: nothing is left to read out "
                f"after stride={self.stride} and two poolings"
            )
        if self.groups_of is not None and self.groups_of < 1:
            raise ValueError(f"groups_of={self.groups_of} is below 1; None is for the default")
        choices = {
            "normalization": list(NORMALIZATIONS),
            "initialization": list(INITIAL),
            "phi": list(PHIS),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is none of {', '.join(map(repr, allowed))}"
                )


class TwoLayerCNN(nn.Module):
    """Class scores (batch, classes) of images (batch, 3, y, x).

    Layers to record from: ``conv1`` (before any nonlinearity), ``relu1`` (where there is one),
    ``norm1.0`` (after the competition, before batch norm takes a mean away), ``norm1`` (after all
    of the normalization), and the same of the second convolution. By default the first and, where
    there is one, the layer whose responses are 0 or more.
    """

    def __init__(self, settings: TwoLayerSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or TwoLayerSettings()
        self.input_format = InputFormat(
            channels=3,
            height_px=settings.size_px,
            width_px=settings.size_px,
            mean=settings.mean,
            std=settings.std,
        )
        competing = settings.normalization == "competition"
        nonlinear = "norm1.0" if competing else "relu1" if settings.rectified else "norm1"
        self.default_layers: tuple[str, ...] = ("conv1", nonlinear)
        first, second = settings.filters, settings.filters_2
        self.conv1 = _convolution(3, first, settings.kernel_px, settings.stride)
        self.relu1 = nn.ReLU() if settings.rectified else nn.Identity()
        self.norm1 = _normalization(first, settings)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = _convolution(first, second, settings.kernel_2_px, 1)
        self.relu2 = nn.ReLU() if settings.rectified else nn.Identity()
        self.norm2 = _normalization(second, settings)
        self.pool2 = nn.MaxPool2d(2)
        side = math.ceil(settings.size_px / settings.stride) // 4
        self.classify = nn.Linear(second * side**2, settings.classes)
        for convolution in (self.conv1, self.conv2):
            group = settings.groups_of or group_size(convolution.out_channels)
            initialize(convolution, settings.initialization, group)

    def forward(self, images: Tensor) -> Tensor:
        first = self.pool1(self.norm1(self.relu1(self.conv1(images))))
        second = self.pool2(self.norm2(self.relu2(self.conv2(first))))
        scores: Tensor = self.classify(second.flatten(1))
        return scores

    def describe(self) -> dict[str, Any]:
        """The settings as plain data, which JSON keeps: ``TwoLayerCNN.of(model.describe())``."""
        return asdict(self.settings)

    @classmethod
    def of(cls, description: dict[str, Any]) -> "TwoLayerCNN":
        """The untrained network that ``describe`` told of."""
        tuples = {name: tuple(description[name]) for name in ("mean", "std")}
        return cls(TwoLayerSettings(**{**description, **tuples}))


def initialize(convolution: nn.Conv2d, initialization: Initialization, groups_of: int) -> None:
    """Draw a convolution's filters, alike within groups of neighboring channels or not; no bias.

    ``"kaiming"`` draws all weights independently, of variance 2 / fan_in (He et al. 2015). The
    others draw one filter per group and all of the group's around it, as the authors of CH-divnorm:

    - ``"kaiming_gaussian"``: that filter is a Kaiming one, of s.d. s, and the variance around it is
      0.01 s. :func:`within_group_correlation` is 0.92 for 7 x 7 x 3 weights.
    - ``"multivariate_gaussian"``: that filter has s.d. 0.01, and the variance around it is 0.01:
      their setting called std is a variance, so that filters are *not* alike (0.01).

    Raises
    ------
    ValueError : if the channels do not divide into groups of ``groups_of``.
    """
    weight = convolution.weight
    channels, fan_in = weight.shape[0], weight[0].numel()
    if channels % groups_of:
        raise ValueError(f"{channels} channels do not divide into groups of {groups_of}")
    shared, own = INITIAL[initialization](fan_in)
    with torch.no_grad():
        common = torch.randn(channels // groups_of, *weight.shape[1:]) * shared
        weight.copy_(common.repeat_interleave(groups_of, 0) + torch.randn_like(weight) * own)
        if convolution.bias is not None:
            convolution.bias.zero_()


def within_group_correlation(initialization: Initialization, fan_in: int) -> float:
    """Expected correlation of the weights of two filters of a group, at the start."""
    shared, own = INITIAL[initialization](fan_in)
    return shared**2 / (shared**2 + own**2)


def _kaiming(fan_in: int) -> tuple[float, float]:
    return 0.0, math.sqrt(2 / fan_in)


def _kaiming_gaussian(fan_in: int) -> tuple[float, float]:
    shared = math.sqrt(2 / fan_in)
    return shared, math.sqrt(SPREAD * shared)


def _multivariate_gaussian(fan_in: int) -> tuple[float, float]:
    return SPREAD, math.sqrt(SPREAD)


# S.d. of a group's common filter and of what each filter adds, by the weights of a filter.
INITIAL: dict[str, Callable[[int], tuple[float, float]]] = {
    "kaiming": _kaiming,
    "kaiming_gaussian": _kaiming_gaussian,
    "multivariate_gaussian": _multivariate_gaussian,
}


def _competition(channels: int, settings: TwoLayerSettings) -> list[nn.Module]:
    return [ChannelGroupNorm(channels, size=settings.groups_of, phi=settings.phi)]


def _group(channels: int, settings: TwoLayerSettings) -> list[nn.Module]:
    return [nn.GroupNorm(channels // (settings.groups_of or group_size(channels)), channels)]


def _layer(channels: int, settings: TwoLayerSettings) -> list[nn.Module]:
    return [nn.GroupNorm(1, channels)]


def _local_response(channels: int, settings: TwoLayerSettings) -> list[nn.Module]:
    # AlexNet's; torch divides alpha by the number of channels, Krizhevsky et al. (2012) did not.
    return [nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)]


def _nothing(channels: int, settings: TwoLayerSettings) -> list[nn.Module]:
    return []


NORMALIZATIONS: dict[str, Callable[[int, TwoLayerSettings], list[nn.Module]]] = {
    "competition": _competition,
    "group": _group,
    "layer": _layer,
    "local_response": _local_response,
    "batch": _nothing,
    "none": _nothing,
}


def _normalization(channels: int, settings: TwoLayerSettings) -> nn.Sequential:
    layers = NORMALIZATIONS[settings.normalization](channels, settings)
    if settings.normalization != "none":
        layers.append(nn.BatchNorm2d(channels))
    return nn.Sequential(*layers)


def _convolution(channels: int, filters: int, kernel_px: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, kernel_px, stride, padding=kernel_px // 2)
