"""What a model takes: how a luminance in [0, 1] becomes the numbers that it was trained on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ephys.visual_field import VisualField

DEFAULT_DEGREES = 8.0  # across an image without a natural scale, as in Brain-Score
DEFAULT_PX = 224  # sides of an image that a network does not say the size of, as in ImageNet
FORMAT_HINT = (
    "torchvision (RGB / 255, ImageNet mean and s.d.), caffe (RGB 0 to 255 minus the VGG team's "
    "mean color), caffenet (minus Caffe's) or unit (RGB 0 to 1)"
)


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
        if not all(std > 0 for std in self.std):
            raise ValueError(f"std={self.std} holds one that is not above 0")

    def encode(self, images: Tensor) -> Tensor:
        """(batch, 1 or channels, y, x) in [0, 1] to what the model takes."""
        mean = torch.tensor(self.mean, device=images.device, dtype=images.dtype)[:, None, None]
        std = torch.tensor(self.std, device=images.device, dtype=images.dtype)[:, None, None]
        encoded = (images * self.scale - mean) / std
        return encoded.expand(-1, self.channels, -1, -1)

    @property
    def field(self) -> VisualField:
        """The visual field of an input image; 8 degrees wide if the model has no scale."""
        scale = self.pixels_per_degree
        if scale is None:
            scale = self.width_px / DEFAULT_DEGREES
        return VisualField(self.height_px, self.width_px, scale)

    def resized(self, size_px: int | None = None, degrees: float | None = None) -> "InputFormat":
        """The same for images of another size in pixels, or that cover another visual angle.

        Parameters
        ----------
        size_px : side of a square image, at the same number of pixels per degree.
        degrees : width of the image; changes the number of pixels per degree.

        Raises
        ------
        ValueError : for a size or an angle that is not above 0.
        """
        height = self.height_px if size_px is None else size_px
        width = self.width_px if size_px is None else size_px
        if degrees is not None and not degrees > 0:
            raise ValueError(f"degrees={degrees}; an image covers a visual angle above 0")
        scale = self.field.pixels_per_degree if degrees is None else width / degrees
        VisualField(height, width, scale)  # refuses what is no field
        return replace(self, height_px=height, width_px=width, pixels_per_degree=scale)


# What published weights take. None of them says so in its file, and a wrong guess is silent.
_PIXELS = InputFormat(channels=3, height_px=DEFAULT_PX, width_px=DEFAULT_PX)
INPUT_FORMATS = {
    "torchvision": replace(_PIXELS, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "caffe": replace(_PIXELS, scale=255.0, mean=(123.68, 116.779, 103.939)),
    "caffenet": replace(_PIXELS, scale=255.0, mean=(122.679, 116.669, 104.007)),
    "unit": _PIXELS,
}


def named_format(
    name: str, *, channels: int = 3, height_px: int = DEFAULT_PX, width_px: int = DEFAULT_PX
) -> InputFormat:
    """One of ``INPUT_FORMATS``, for images of a network's own size.

    Raises
    ------
    KeyError : for a name that is none of them.
    ValueError : for a format of colors where the network has one channel.
    """
    if name not in INPUT_FORMATS:
        raise KeyError(f"no input format {name!r}; there are {FORMAT_HINT}")
    return replace(INPUT_FORMATS[name], channels=channels, height_px=height_px, width_px=width_px)


def own_format(model: nn.Module) -> InputFormat:
    """The ``input_format`` that a model carries.

    Raises
    ------
    ValueError : if it carries none.
    """
    own = getattr(model, "input_format", None)
    if not isinstance(own, InputFormat):
        raise ValueError(
            f"{type(model).__name__} does not say what it takes; pass "
            "input_format=InputFormat(channels=3, height_px=224, width_px=224, mean=..., std=...)"
        )
    return own
