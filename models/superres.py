"""Super-resolution: the self-supervised task of Veerabadran, Raina & de Sa (2021).

A fixed Gabor bank and a normalization encode a photograph that was made coarse; transposed
convolutions decode it to what it was. The sizes are those of the authors' code (desa-lab/
early_vision, commit 79ca421), where the network sees the coarse image brought back to full size.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ephys.models.divnormei import DivNormEI, Excitation, Projected
from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import InputFormat

FACTOR = 4  # of the reduction, and the stride of the encoder


@dataclass(frozen=True)
class SuperResolutionSettings:
    """What stands between the Gabor bank and the decoder.

    Parameters
    ----------
    normalization : ``"divnormei"``, ``"divnorm"`` (no lateral connections) or ``"none"``.
    excitation_from, divisive_size, excitation_size, inhibition_size, projected :
        see :class:`~ephys.models.divnormei.DivNormEI`.
    """

    normalization: Literal["divnormei", "divnorm", "none"] = "divnormei"
    excitation_from: Excitation = "normalized"
    divisive_size: int = 5
    excitation_size: int = 9
    inhibition_size: int = 7
    projected: Projected = "all"

    def __post_init__(self) -> None:
        allowed = ("divnormei", "divnorm", "none")
        if self.normalization not in allowed:
            raise ValueError(f"normalization={self.normalization!r} is none of {allowed}")


class SuperResolution(nn.Module):
    """Sharpen coarse photographs: (batch, 1, height, width) in [0, 1] to the same shape.

    Layers to record from: ``encoder.gabor_bank`` (before normalization) and
    ``encoder.normalization`` (after it; absent with ``normalization="none"``).
    """

    def __init__(self, settings: SuperResolutionSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or SuperResolutionSettings()
        # At 15 pixels per degree the 15-px filters have the paper's 2 and 3 cycles per degree.
        self.input_format = InputFormat(channels=1, height_px=48, width_px=48, pixels_per_degree=15)
        self.default_layers: tuple[str, ...] = ("encoder.gabor_bank",)
        self.encoder = nn.Sequential()
        self.encoder.add_module("gabor_bank", GaborBank(stride=FACTOR))
        if settings.normalization != "none":
            self.default_layers += ("encoder.normalization",)
            self.encoder.add_module(
                "normalization",
                DivNormEI(
                    64,
                    lateral=settings.normalization == "divnormei",
                    excitation_from=settings.excitation_from,
                    divisive_size=settings.divisive_size,
                    excitation_size=settings.excitation_size,
                    inhibition_size=settings.inhibition_size,
                    projected=settings.projected,
                ),
            )
        self.decoder = nn.Sequential(
            *_block(nn.Conv2d(64, 64, 1)),
            *_block(nn.ConvTranspose2d(64, 64, 3, stride=2)),
            *_block(nn.ConvTranspose2d(64, 64, 3, stride=2)),
            nn.Conv2d(64, 1, 1),
        )

    def forward(self, coarse: Tensor) -> Tensor:
        height, width = coarse.shape[-2:]
        output = self.decoder(self.encoder(coarse))  # 48 px -> 12 -> 25 -> 51
        output = output[..., 1 : 1 + height, 1 : 1 + width]
        return (torch.tanh(output) + 1) / 2

    def project(self) -> None:
        """Keep the normalization's parameters non-negative; call it after each training step."""
        for module in self.encoder:
            if isinstance(module, DivNormEI):
                module.project()

    def describe(self) -> dict[str, Any]:
        """The settings as plain data, which JSON keeps: ``SuperResolution.of(described)``."""
        return asdict(self.settings)

    @classmethod
    def of(cls, description: dict[str, Any]) -> "SuperResolution":
        """The untrained network that ``describe`` told of."""
        return cls(SuperResolutionSettings(**description))


def coarsen(images: Tensor) -> Tensor:
    """Lose all but every fourth pixel, and come back to full size.

    Bilinear and without antialiasing in both directions, as the authors' resize was. Height and
    width of (batch, 1, height, width) are multiples of 4.
    """
    return enlarge(reduce(images), "bilinear")


def reduce(images: Tensor) -> Tensor:
    """A quarter of the height and the width, by bilinear interpolation."""
    height, width = images.shape[-2:]
    if height % FACTOR or width % FACTOR:
        raise ValueError(f"{height} x {width} pixels are not multiples of {FACTOR}; crop first")
    return F.interpolate(images, scale_factor=1 / FACTOR, mode="bilinear", align_corners=False)


def enlarge(images: Tensor, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """Four times the height and the width, by interpolation, torch's (bicubic with a = -0.75)."""
    return F.interpolate(images, scale_factor=FACTOR, mode=mode, align_corners=False)


def _block(convolution: nn.Module) -> tuple[nn.Module, ...]:
    return convolution, nn.BatchNorm2d(64), nn.ReLU()
