"""The part of an image that certain units see, cut out so that they answer as to the whole."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from ephys.receptive_field import Geometry, survey

GROWTH = (0, 1, 2, 4)  # steps of alignment by which a crop that does not do is enlarged
ROUNDING = 1e-6  # pixels, of where positions stand: a third of one, say


@dataclass(frozen=True)
class Crop:
    """Part of an image, and where units are in what layers answer to it.

    Parameters
    ----------
    rows, columns : of the image.
    sites : by layer, the index of the unit's position among those of the crop's answer, or
        the indices of several.
    largest : bytes per image of the largest operation.
    """

    rows: slice
    columns: slice
    sites: dict[str, int | tuple[int, ...]]
    largest: int

    @property
    def area(self) -> int:
        return (self.rows.stop - self.rows.start) * (self.columns.stop - self.columns.start)

    def holds(self, boxes: np.ndarray) -> bool:
        """Whether a receptive field lies within it, or all of several: (..., 4)."""
        top, bottom, left, right = np.moveaxis(boxes, -1, 0)
        within = (self.rows.start <= top) & (bottom < self.rows.stop)
        within &= (self.columns.start <= left) & (right < self.columns.stop)
        return bool(within.all())


def find_crop(
    model: nn.Module,
    sites: Mapping[str, int | tuple[int, ...]],
    geometries: Mapping[str, Geometry],
    images: Tensor,
) -> Crop | None:
    """The smallest part of an image that serves the given positions of each layer.

    A crop serves if, worked out anew for it, each unit sees the same pixels as in the whole image,
    and padding only where it does there. It starts where all strides fall as in the whole.

    Parameters
    ----------
    sites : by layer, the index of the position, or the indices of several.
    geometries : of the layers, for the whole image.
    images : whole images to try it on, (batch, channel, y, x).

    Returns
    -------
    None if nothing smaller than the whole image serves.
    """
    wanted = [geometries[layer] for layer in sites]
    if any(g.status == "unknown" or g.anchored for g in wanted):
        return None
    boxes = np.vstack([geometries[layer].boxes[np.array(site)] for layer, site in sites.items()])
    padded = np.vstack([geometries[layer].padded[np.array(site)] for layer, site in sites.items()])
    if np.isnan(boxes).any():
        return None
    height, width = images.shape[2:]
    align_y, align_x = (math.lcm(*(g.align[axis] for g in wanted)) for axis in (0, 1))
    rows = _spans(boxes[:, :2], padded[:, :2], height, align_y)
    columns = _spans(boxes[:, 2:], padded[:, 2:], width, align_x)
    for down, across in zip(rows, columns, strict=True):
        if (down, across) == (slice(0, height), slice(0, width)):
            return None
        crop = _try(model, sites, geometries, images, down, across)
        if crop is not None:
            return crop
    return None


def _spans(box: np.ndarray, padded: np.ndarray, size: int, align: int) -> Iterator[slice]:
    """Ever longer parts of an axis that hold first to last pixel, and the border that is seen."""
    first, last = int(box[:, 0].min()), int(box[:, 1].max())
    low, high = padded[:, 0].any(), padded[:, 1].any()
    for growth in GROWTH:
        start = max(first // align - growth, 0) * align
        stop = last + 1 if growth == 0 else (last // align + growth) * align
        yield slice(0 if low else start, size if high else min(stop, size))


def _try(
    model: nn.Module,
    sites: Mapping[str, int | tuple[int, ...]],
    geometries: Mapping[str, Geometry],
    images: Tensor,
    rows: slice,
    columns: slice,
) -> Crop | None:
    part = images[..., rows, columns].contiguous()
    try:
        found = survey(model, list(sites), part, every_call=False)
    except Exception:
        return None  # too small for the model, or not a size that it takes
    shift = np.array([rows.start, columns.start])
    places: dict[str, int | tuple[int, ...]] = {}
    for layer, site in sites.items():
        if layer not in found.geometries:
            return None
        whole, cut = geometries[layer], found.geometries[layer]
        if cut.units != whole.units:
            return None
        chosen = []
        for one in np.atleast_1d(site):
            same = (
                (cut.boxes + np.repeat(shift, 2) == whole.boxes[one]).all(1)
                & (cut.padded == whole.padded[one]).all(1)
                & (np.abs(cut.homes + shift - whole.homes[one]) < ROUNDING).all(1)
            )
            if same.sum() != 1:
                return None  # several can be alike where a map is one element wide
            chosen.append(int(same.argmax()))
        places[layer] = tuple(chosen) if isinstance(site, tuple) else chosen[0]
    return Crop(rows, columns, places, found.largest)
