"""Where a unit looks: centre, spacing and extent of receptive fields, measured with gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ephys.electrodes import electrodes
from ephys.models.devices import placement
from ephys.models.input_format import InputFormat

CANVASES = (1, 2, 3)  # in images, tried in this order until no receptive field is cut off
NOISES = 2  # different images, so that a unit that is silent for one may answer another


@dataclass(frozen=True)
class Geometry:
    """The receptive fields of a layer's map, in pixels of the image.

    The unit of row r and column c looks at the pixel ``first + stride * (r, c)``, and sees
    ``size`` pixels around it.

    Parameters
    ----------
    status : ``"local"``; ``"whole input"`` where a unit sees all of every image that was tried;
        ``"unknown"`` where no pixel moved it.
    first, stride, size : (vertical, horizontal).
    """

    status: Literal["local", "whole input", "unknown"]
    first: tuple[float, float]
    stride: tuple[float, float]
    size: tuple[int, int]

    def center(self, row: int, column: int) -> tuple[float, float]:
        """Pixel (row, column) of the image at the middle of a unit's receptive field."""
        (a, b), (s, t) = self.first, self.stride
        return a + s * row, b + t * column


def measure(
    model: nn.Module, layers: Sequence[str], input_format: InputFormat
) -> dict[str, Geometry]:
    """The geometry of each layer: which pixels move the summed channels at two positions.

    A receptive field that the border of the image cuts off is measured again on an image two and
    three times as large, where the model takes one. A unit of max-pooling is taken to see all of
    its pool, though a gradient would reach the largest alone.

    Parameters
    ----------
    layers : exact names of layers whose output is (batch, channel, row, column).
    """
    handles = [
        module.register_forward_hook(_average_instead)
        for module in model.modules()
        if isinstance(module, nn.MaxPool2d)
    ]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return {layer: _measure(model, layer, input_format) for layer in layers}
    finally:
        for handle in handles:
            handle.remove()


def _measure(model: nn.Module, layer: str, input_format: InputFormat) -> Geometry:
    height, width = input_format.height_px, input_format.width_px
    middle = ((height - 1) / 2, (width - 1) / 2)
    answer = Geometry("unknown", (np.nan, np.nan), (np.nan, np.nan), (0, 0))
    for times in CANVASES:
        shape = (NOISES, input_format.channels, times * height, times * width)
        try:
            pair = _boxes(model, layer, input_format, shape)
        except RuntimeError:
            if times == 1:
                raise
            break  # the model takes no other size
        if pair is None:
            continue
        if not _is_cut_off(pair, shape):
            return _geometry(*pair)
        answer = Geometry("whole input", middle, (0, 0), (height, width))
    return answer


Box = tuple[int, int, int, int]  # first row, last row, first column, last column
Position = tuple[int, int]
Located = tuple[Position, Box]


def _boxes(
    model: nn.Module, layer: str, input_format: InputFormat, shape: tuple[int, ...]
) -> tuple[Located, Located] | None:
    """Two neighbouring positions in the middle of a layer, and the pixels that move them."""
    generator = torch.Generator().manual_seed(0)
    device, dtype = placement(model)
    noise = torch.rand(shape, generator=generator).to(device, dtype)
    image = input_format.encode(noise).clone().requires_grad_()
    with electrodes(model, [layer]) as show:
        output = show(image)[layer]
    rows, columns = output.shape[-2:]
    middle = (rows // 2, columns // 2)
    before = (max(middle[0] - 1, 0), max(middle[1] - 1, 0))
    box, box_before = (_support(output, position, image) for position in (middle, before))
    if box is None or box_before is None:
        return None
    return (middle, box), (before, box_before)


def _support(output: Tensor, position: Position, image: Tensor) -> Box | None:
    row, column = position
    (gradient,) = torch.autograd.grad(output[:, :, row, column].sum(), image, retain_graph=True)
    moved = (gradient != 0).any(0).any(0).cpu().numpy()  # (height, width)
    if not moved.any():
        return None
    rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def _is_cut_off(pair: tuple[Located, Located], shape: tuple[int, ...]) -> bool:
    height, width = shape[-2:]
    return any(
        box[0] == 0 or box[1] == height - 1 or box[2] == 0 or box[3] == width - 1 for _, box in pair
    )


def _geometry(middle: Located, before: Located) -> Geometry:
    (position, box), (position_before, box_before) = middle, before
    center = np.array([box[0] + box[1], box[2] + box[3]]) / 2
    center_before = np.array([box_before[0] + box_before[1], box_before[2] + box_before[3]]) / 2
    stride = (center - center_before) / np.maximum(np.subtract(position, position_before), 1)
    first = center - stride * position
    return Geometry(
        "local",
        (float(first[0]), float(first[1])),
        (float(stride[0]), float(stride[1])),
        (box[1] - box[0] + 1, box[3] - box[2] + 1),
    )


def _average_instead(pool: nn.MaxPool2d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """Every pixel of a pool moves its average, as it may move its maximum."""
    if pool.dilation not in (1, (1, 1)):
        return output
    return F.avg_pool2d(
        inputs[0], pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode
    )
