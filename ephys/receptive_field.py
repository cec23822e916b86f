"""Where a unit looks: centre, spacing and extent of receptive fields, measured with gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ephys.electrodes import electrodes
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
    three times as large, where the model takes one.

    Parameters
    ----------
    layers : exact names of layers whose output is (batch, channel, row, column).
    """
    height, width = input_format.height_px, input_format.width_px
    found: dict[str, Geometry] = {}
    remaining = list(layers)
    for times in CANVASES:
        shape = (NOISES, input_format.channels, times * height, times * width)
        try:
            boxes = _boxes(model, remaining, input_format, shape)
        except RuntimeError:  # a layer after the wanted ones' inputs takes no other size
            if times == 1:
                raise
            break
        found |= {
            layer: _geometry(*pair, shape)
            for layer, pair in boxes.items()
            if not _is_cut_off(pair, shape)
        }
        remaining = [layer for layer in layers if layer not in found]
        if not remaining:
            break
    whole = Geometry("whole input", ((height - 1) / 2, (width - 1) / 2), (0, 0), (height, width))
    return {layer: found.get(layer, whole) for layer in layers}


Box = tuple[int, int, int, int]  # first row, last row, first column, last column
Position = tuple[int, int]
Located = tuple[Position, Box | None]


def _boxes(
    model: nn.Module, layers: Sequence[str], input_format: InputFormat, shape: tuple[int, ...]
) -> dict[str, tuple[Located, Located]]:
    """For each layer two neighbouring positions in its middle, and the pixels that move them."""
    device = next(iter(model.parameters()), torch.empty(0)).device
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(shape, generator=generator).to(device)
    image = input_format.encode(noise).clone().requires_grad_()
    boxes = {}
    with torch.enable_grad(), electrodes(model, layers, readout=lambda _, output: output) as show:
        caught = show(image)
        for layer, output in caught.items():
            rows, columns = output.shape[-2:]
            middle = (rows // 2, columns // 2)
            before = (max(middle[0] - 1, 0), max(middle[1] - 1, 0))
            boxes[layer] = (
                (middle, _support(output, middle, image)),
                (before, _support(output, before, image)),
            )
    return boxes


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
        box is not None
        and (box[0] == 0 or box[1] == height - 1 or box[2] == 0 or box[3] == width - 1)
        for _, box in pair
    )


def _geometry(middle: Located, before: Located, shape: tuple[int, ...]) -> Geometry:
    (row, column), box = middle
    (row_before, column_before), box_before = before
    if box is None or box_before is None:
        return Geometry("unknown", (np.nan, np.nan), (np.nan, np.nan), (0, 0))
    center = np.array([box[0] + box[1], box[2] + box[3]]) / 2
    center_before = np.array([box_before[0] + box_before[1], box_before[2] + box_before[3]]) / 2
    steps = np.array([max(row - row_before, 1), max(column - column_before, 1)])
    stride = (center - center_before) / steps
    first = center - stride * (row, column)
    return Geometry(
        "local",
        (float(first[0]), float(first[1])),
        (float(stride[0]), float(stride[1])),
        (box[1] - box[0] + 1, box[3] - box[2] + 1),
    )
