"""Where a unit looks: the pixels that can move it, worked out exactly for what is local."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ephys.electrodes import Contact, listening
from ephys.models.devices import placement
from ephys.tracing import HOME, Seen, Sight, Tracer

Status = Literal["exact", "whole input", "unknown"]
BATCH = 2  # images that are followed: enough to tell the batch from other dimensions


@dataclass(frozen=True)
class Geometry:
    """How a layer's output is laid out, and what each of its positions sees, in pixels.

    Units of all channels at one position see the same. Arrays have one row per position; a
    layer without positions, (batch, feature), has one.

    Parameters
    ----------
    status : ``"exact"``; ``"whole input"`` where every unit sees all of the image; ``"unknown"``
        where an operation on the way has no rule, and ``boxes`` and ``centers`` are NaN.
    shape : of the output for one image.
    unit_dims, site_dims : which dimensions of the output, the batch being the first, tell units
        of one position apart, and which positions.
    positions : (position, 2), row and column on the layer's grid; NaN for one without a place
        there, such as a class token.
    boxes : (position, 4), first and last row, first and last column that a unit sees. Pixels in
        between may be left out, as by dilation.
    padded : (position, 4), whether it also sees padding above, below, left and right.
    homes : (position, 2), row and column of the pixel above which a position stands on the grid.
    centers : (position, 2), row and column of the middle of the receptive field; where padding or
        the image's border cuts it off, of what it would be without.
    align : (vertical, horizontal) pixels by which an image can be moved with all strides on the
        way falling as before.
    anchored : whether the model treats positions differently, by adding an embedding, say.
    """

    status: Status
    shape: tuple[int, ...]
    unit_dims: tuple[int, ...]
    site_dims: tuple[int, ...]
    positions: np.ndarray
    boxes: np.ndarray
    padded: np.ndarray
    homes: np.ndarray
    centers: np.ndarray
    align: tuple[int, int]
    anchored: bool

    @property
    def units(self) -> int:
        """How many there are at each position."""
        return math.prod(self.shape[dim - 1] for dim in self.unit_dims)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the largest receptive field in pixels, 0 where nothing is seen."""
        if np.isnan(self.boxes).all():
            return 0, 0
        first_row, last_row, first_column, last_column = self.boxes.T
        height, width = np.nanmax(last_row - first_row), np.nanmax(last_column - first_column)
        return int(height) + 1, int(width) + 1

    def central(self, height: int, width: int) -> int:
        """The position whose receptive field is nearest the middle of the image."""
        offset = self.centers - ((height - 1) / 2, (width - 1) / 2)
        distance = np.round((offset**2).sum(1), 9)  # of equally near, the upper left
        if np.isnan(distance).all():
            sizes = [self.shape[dim - 1] for dim in self.site_dims]
            return int(np.ravel_multi_index([n // 2 for n in sizes], sizes)) if sizes else 0
        return int(np.nanargmin(distance))

    def sites(self, output: Tensor) -> Tensor:
        """The layer's output as (batch, unit, position)."""
        laid_out = output.permute(0, *self.unit_dims, *self.site_dims)
        return laid_out.reshape(len(output), self.units, -1)


def geometry(model: nn.Module, layer: str, input_size: tuple[int, int, int]) -> Geometry:
    """What the units of a layer see of an image.

    Two random images are shown, and every operation of the forward pass is followed: exact for
    convolutions with stride, padding, dilation and groups, transposed too; pooling, also
    adaptive; interpolation; operations on every element; batch normalization in evaluation mode;
    cropping, padding, concatenation, sums and reordering; attention and other products of
    matrices. See :mod:`ephys.tracing`.

    Parameters
    ----------
    layer : its name, see :func:`ephys.electrodes.electrodes`.
    input_size : (channel, height, width) in pixels.

    Raises
    ------
    KeyError : for a layer that the model does not have, or does not reach.
    ValueError : for a layer with another kind of output.
    """
    device, dtype = placement(model)
    noise = torch.rand(BATCH, *input_size, generator=torch.Generator().manual_seed(0))
    found = survey(model, [layer], noise.to(device, dtype))
    for reason in found.refused.values():
        raise ValueError(reason)
    return next(iter(found.geometries.values()))


@dataclass(frozen=True)
class Survey:
    """What one forward pass shows of some layers.

    Parameters
    ----------
    geometries : by layer, in the order of the answers. The calls of a layer that is called several
        times in a pass are ``name#1``, ``name#2``, ...
    refused : by layer, why no units can be read from it.
    largest : bytes per image of the largest operation on the way to the last answer.
    """

    geometries: dict[str, Geometry]
    refused: dict[str, str]
    largest: int


def survey(
    model: nn.Module, layers: Sequence[str], images: Tensor, *, every_call: bool = True
) -> Survey:
    """Follow images, (batch, channel, y, x), through a model, and tell what its layers see.

    Parameters
    ----------
    every_call : go on to the end of the forward pass, for layers that are called again; else stop
        when each has answered, and say what was asked for.

    Raises
    ------
    KeyError : for a layer that the model does not have.
    Exception : whatever the model raises before every layer was reached.
    """
    contacts = [Contact.parse(layer) for layer in layers]
    heard: list[tuple[Contact, int, Geometry | str]] = []
    largest = 0

    def hear(name: str, call: int, output: Any) -> bool:
        nonlocal largest
        for contact in contacts:
            wanted = contact.call or (call if every_call else 1)
            if (contact.name, wanted) == (name, call):
                heard.append((contact, call, _describe(contact, output, tracer, images)))
                largest = tracer.largest
        return not every_call and len(heard) == len(contacts)

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        listening(model, {contact.name for contact in contacts}, hear) as run,
        Tracer() as tracer,
    ):
        shown = images.clone()  # which the model may change, also where the caller's are not to be
        tracer.watch(shown)
        try:
            run(shown)
        except Exception:
            if not all(any(contact is other for other, *_ in heard) for contact in contacts):
                raise
    geometries: dict[str, Geometry] = {}
    refused: dict[str, str] = {}
    for contact, call, found in heard:
        calls = sum(contact is other for other, *_ in heard)
        label = contact.at_call(call) if calls > 1 else contact.label
        if isinstance(found, Geometry):
            geometries[label] = found
        else:
            refused[label] = found
    missing = [c.label for c in contacts if not any(c is contact for contact, *_ in heard)]
    refused |= {label: f"the forward pass does not reach layer {label!r}" for label in missing}
    return Survey(geometries, refused, largest // len(images))


def _describe(contact: Contact, output: Any, tracer: Tracer, images: Tensor) -> Geometry | str:
    """The geometry of a layer's output, or why no units can be read from it."""
    try:
        tensor = contact.tensor(output)
    except ValueError as error:
        return str(error)
    sight = tracer.sight(tensor)
    site_dims = _site_dims(tensor.shape, sight)
    if site_dims is None or len(tensor) != len(images):
        return (
            f"layer {contact.label!r} answers with shape {tuple(tensor.shape)} to {len(images)} "
            "images; units are read from (batch, channel, row, column), (batch, row, column, "
            "channel), (batch, token, feature) or (batch, feature)"
        )
    unit_dims = tuple(dim for dim in range(1, tensor.ndim) if dim not in site_dims)
    sizes = [tensor.shape[dim] for dim in site_dims]
    count = math.prod(sizes)
    shape = tuple(tensor.shape[1:])
    if sight is None:
        none = np.full((count, 4), np.nan)
        positions = np.indices(sizes).reshape(2, -1).T if len(sizes) == 2 else none[:, :2]
        return Geometry(
            status="unknown",
            shape=shape,
            unit_dims=unit_dims,
            site_dims=site_dims,
            positions=positions.astype(float),
            boxes=none,
            padded=none > 0,
            homes=none[:, :2],
            centers=none[:, :2],
            align=(1, 1),
            anchored=True,
        )
    sides = [_at_sites(seen, tensor.shape, site_dims) for seen in (sight.rows, sight.columns)]
    spans = [_span(parts, size) for parts, size in zip(sides, images.shape[2:], strict=True)]
    boxes = np.concatenate([box for box, _, _ in spans], axis=1)
    centers = np.stack([center for _, _, center in spans], axis=1)
    last = np.repeat(np.subtract(images.shape[2:], 1), 2) * (0, 1, 0, 1)
    sees_something = ~np.isnan(boxes).any(1)
    whole = sees_something.any() and (boxes[sees_something] == last).all()
    return Geometry(
        status="whole input" if whole else "exact",
        shape=shape,
        unit_dims=unit_dims,
        site_dims=site_dims,
        positions=_positions(sizes, [parts[HOME] for parts in sides]),
        boxes=boxes,
        padded=np.concatenate([padded for _, padded, _ in spans], axis=1),
        homes=np.stack([parts[HOME] for parts in sides], axis=1),
        centers=centers,
        align=sight.align,
        anchored=sight.anchored,
    )


def _site_dims(shape: Sequence[int], sight: Sight | None) -> tuple[int, ...] | None:
    """The dimensions that tell positions apart, by what their elements see; None if unclear."""
    rows, columns = (
        {dim for dim in range(len(shape)) if seen is not None and seen.varies(dim)}
        for seen in (sight and sight.rows, sight and sight.columns)
    )
    if 0 in rows | columns or len(shape) not in (2, 3, 4):
        return None  # windows, say, that were moved into the batch
    if len(shape) == 2:
        return ()
    if rows == columns and len(rows) == 1:
        return tuple(rows)  # tokens
    if len(shape) == 3:
        return (1, 2) if (rows, columns) == ({1}, {2}) else (min(rows | columns, default=1),)
    return (1, 2) if 3 not in rows | columns and (1 in rows | columns or 2 in columns) else (2, 3)


def _at_sites(seen: Seen, shape: Sequence[int], site_dims: Sequence[int]) -> np.ndarray:
    """What each position sees, of all its units together: (5, position)."""
    units = [dim for dim in range(len(shape)) if dim not in site_dims]
    parts = seen.together(units).parts
    sizes = [shape[dim] if dim in site_dims else 1 for dim in range(len(shape))]
    return np.broadcast_to(parts, (len(parts), *sizes)).reshape(len(parts), -1)


def _span(parts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last pixel, whether padded at either end, and centre, of each position."""
    first, last, home = -parts[0], parts[1], parts[HOME]
    nothing = last < first
    box = np.where(nothing, np.nan, [first, last]).T
    padded = parts[2:HOME].T > 0
    whole = (first == 0) & (last == size - 1)
    cut = (padded.any(1) | whole) & (len(home) > 1)  # of one position alone, no grid is known
    return box, padded, np.where(cut | nothing, home, box.mean(1))


def _positions(sizes: Sequence[int], homes: Sequence[np.ndarray]) -> np.ndarray:
    """Row and column of each position; of tokens in a row, by where they stand in the image."""
    if len(sizes) == 2:
        return np.indices(sizes).reshape(2, -1).T.astype(float)
    ranks = [np.unique(home[~np.isnan(home)], return_inverse=True)[1] for home in homes]
    places = np.full((math.prod(sizes), 2), np.nan)
    if sizes:
        for axis, (home, rank) in enumerate(zip(homes, ranks, strict=True)):
            places[~np.isnan(home), axis] = rank
    return places
