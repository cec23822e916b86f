"""What a model takes: how a luminance in [0, 1] becomes the numbers that it was trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ephys.visual_field import VisualField

DEFAULT_DEGREES = 8.0  # across an image without a natural scale, as in Brain-Score


@dataclass(frozen=True)
class InputFormat:
    """Size, scale and value range of a model's input.

    A stimulus value v in [0, 1] reaches the model as ``(v * scale - mean) / std``, channel by
    channel, in RGB order where there are three.

    Parameters
    ----------
    channels : 1 or 3.
    height_px, width_px : image size the model is shown.
    pixels_per_degree : visual scale; None for a model without a natural one.
    scale : largest value before the mean is subtracted: 1, or 255.
    mean, std : one number per channel, or one for all.
    """

    channels: int
    height_px: int
    width_px: int
    pixels_per_degree: float | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels}; a model of images takes 1 or 3")
        for name, values in [("mean", self.mean), ("std", self.std)]:
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")

    def encode(self, images: Tensor) -> Tensor:
        """(batch, 1 or channels, y, x) in [0, 1] to what the model takes."""
        mean = torch.tensor(self.mean, device=images.device, dtype=images.dtype)[:, None, None]
        std = torch.tensor(self.std, device=images.device, dtype=images.dtype)[:, None, None]
        encoded = (images * self.scale - mean) / std
        return encoded.expand(-1, self.channels, -1, -1)

    def field(self, *, degrees: float | None = None) -> VisualField:
        """The visual field of an input image.

        Parameters
        ----------
        degrees : width of the image; by default that of the model's own scale, or else 8.
        """
        if degrees is None:
            own = self.pixels_per_degree
            degrees = DEFAULT_DEGREES if own is None else self.width_px / own
        if not degrees > 0:
            raise ValueError(f"degrees={degrees}; the image covers a visual angle above 0")
        return VisualField(self.height_px, self.width_px, self.width_px / degrees)
