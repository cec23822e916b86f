"""Show stimuli to a model and record its units."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ephys.electrodes import electrodes, find_layers
from ephys.models.devices import placement
from ephys.models.input_format import InputFormat, own_format
from ephys.receptive_field import Geometry, measure
from ephys.responses import (
    UNIT_ATTRIBUTES,
    create_store,
    open_store,
    reopen_store,
    unit_coordinates,
)
from ephys.stimuli.sweep import StimulusSet, blank
from ephys.visual_field import VisualField

Readout = Literal["center", "mean", "max"]
BATCH_SIZE = 64


def record(
    model: nn.Module,
    stimuli: StimulusSet,
    layers: Sequence[str],
    *,
    readout: Readout = "center",
    input_format: InputFormat | None = None,
    batch_size: int = BATCH_SIZE,
    path: str | Path | None = None,
    resume: bool = False,
    provenance: Mapping[str, str] | None = None,
    quiet: bool = True,
) -> xr.Dataset:
    """Record what units of a model answer to stimuli.

    The model runs in evaluation mode on the device it is on, and is left as it was.

    Parameters
    ----------
    model : takes (batch, channel, y, x).
    stimuli : what to show, all of one mean luminance; the blank is shown as well.
    layers : names or globs of layers whose output is (batch, channel, row, column) or
        (batch, feature).
    readout : ``"center"`` records, for each channel, the unit whose receptive field is nearest
        the centre of the field, with the stimulus centred on that receptive field; ``"mean"`` and
        ``"max"`` pool each channel over all positions.
    input_format : what the model takes; by default ``model.input_format``.
    batch_size : stimuli at a time.
    path : where to write the responses as zarr; by default they stay in memory.
    resume : go on with the recording in ``path``, which must be of the same experiment.
    provenance : more to note in the attributes: where the model is from, say.
    quiet : no progress on stderr.

    Returns
    -------
    The dataset that :mod:`ephys.responses` describes.

    Raises
    ------
    KeyError : for layers that the model does not have.
    ValueError : for stimuli that the field cannot show, layers with other outputs, and a recording
        to resume that is of another experiment.
    FileExistsError : if ``path`` exists and is not to be resumed.
    """
    if readout not in get_args(Readout):
        raise ValueError(f"readout={readout!r} is none of {', '.join(get_args(Readout))}")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; show at least 1 stimulus at a time")
    path = None if path is None else Path(path)
    if path and path.exists() and not resume:
        raise FileExistsError(f"{path} exists; resume it, overwrite it, or choose another")
    input_format = input_format or own_format(model)
    field = input_format.field
    stimuli.check(field)
    _blank_of(stimuli)
    rig = _Rig(model, find_layers(model, layers), readout, input_format, field)
    about: dict[str, str | float] = {
        "model_sha256": _model_sha256(model),
        "stimuli_sha256": stimuli.sha256,
        "layers": ", ".join(rig.layers),
        "readout": readout,
        "input_format": json.dumps(asdict(input_format)),
        "pixels_per_degree": field.pixels_per_degree,
        "batch_size": batch_size,
        "device": str(rig.device),
        "torch": torch.__version__,
        "ephys": version("ephys"),
    }
    store: Path | Store = path or MemoryStore()
    begun = path is not None and path.exists()
    if path and begun:
        responses = reopen_store(path, about)
    else:
        responses = create_store(
            store, _describe(rig, stimuli, {**(provenance or {}), **about}), chunk=batch_size
        )
    silent = quiet or not sys.stderr.isatty()
    with tqdm(total=len(stimuli), desc="record", unit=" stimuli", disable=silent) as progress:
        for start in range(0, len(stimuli), batch_size):
            rows = slice(start, min(start + batch_size, len(stimuli)))
            if not begun or np.isnan(responses[rows]).any():
                responses[rows] = rig.present(stimuli[rows])
            progress.update(rows.stop - rows.start)
    return open_store(store)


class _Rig:
    """A model with electrodes at certain units, in front of a field."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        readout: Readout,
        input_format: InputFormat,
        field: VisualField,
    ) -> None:
        self.model, self.layers, self.readout = model, layers, readout
        self.input_format, self.field = input_format, field
        self.device, self.dtype = placement(model)
        with torch.inference_mode(), electrodes(model, layers) as show:
            outputs = show(self._input(blank(), field))
        self.shapes = {layer: tuple(outputs[layer].shape[1:]) for layer in layers}
        for layer, shape in self.shapes.items():
            if len(shape) not in (1, 3):
                raise ValueError(
                    f"layer {layer!r} answers with shape (batch, {', '.join(map(str, shape))}); "
                    "units are read from (batch, channel, row, column) or (batch, feature)"
                )
        self.places: dict[str, Place] = {}
        maps = [layer for layer in layers if len(self.shapes[layer]) == 3]
        if readout == "center" and maps:
            self.places = {
                layer: _central_unit(geometry, self.shapes[layer], field)
                for layer, geometry in measure(model, maps, input_format).items()
            }

    def present(self, stimuli: StimulusSet) -> np.ndarray:
        """What all units answer: float32 (stimulus, unit)."""
        layers_by_center: dict[tuple[float, float], list[str]] = {}
        for layer in self.layers:
            center = self.places[layer].center if layer in self.places else NOWHERE.center
            if np.isnan(center).any():
                center = (0.0, 0.0)
            layers_by_center.setdefault(center, []).append(layer)
        answers: dict[str, Tensor] = {}
        for (x, y), layers in layers_by_center.items():
            inputs = self._input(stimuli, self.field.centered_on(x, y))
            with (
                torch.inference_mode(),
                electrodes(self.model, layers, readout=self._read) as show,
            ):
                answers |= show(inputs)
        return torch.cat([answers[layer] for layer in self.layers], dim=1).float().cpu().numpy()

    def _input(self, stimuli: StimulusSet, field: VisualField) -> Tensor:
        """The stimuli as the model takes them: (stimulus, channel, y, x)."""
        images = stimuli.render(field, device=self.device)
        return self.input_format.encode(images).to(self.dtype)

    def _read(self, layer: str, output: Tensor) -> Tensor:
        if output.ndim == 2:
            return output.clone()
        if layer in self.places:
            place = self.places[layer]
            return output[:, :, int(place.row), int(place.column)].clone()
        return output.mean((2, 3)) if self.readout == "mean" else output.amax((2, 3))


class Place(NamedTuple):
    """A position of a layer's map, and the degrees (x, y) that it looks at."""

    row: float
    column: float
    center: tuple[float, float]


NOWHERE = Place(np.nan, np.nan, (np.nan, np.nan))  # of a unit that pools over positions


def _central_unit(geometry: Geometry, shape: tuple[int, ...], field: VisualField) -> Place:
    """The position whose receptive field is nearest the centre of the field."""
    middle = ((field.height_px - 1) / 2, (field.width_px - 1) / 2)
    nearest = [
        _nearest_index(first, stride, center, count)
        for first, stride, center, count in zip(
            geometry.first, geometry.stride, middle, shape[1:], strict=True
        )
    ]
    row, column = nearest
    if geometry.status == "unknown":
        return Place(row, column, NOWHERE.center)
    at_row, at_column = geometry.center(row, column)
    scale = field.pixels_per_degree
    return Place(row, column, ((at_column - middle[1]) / scale, (middle[0] - at_row) / scale))


def _nearest_index(first: float, stride: float, center: float, count: int) -> int:
    if not stride > 0:  # every unit sees the same, or nothing
        return count // 2
    exact = (center - first) / stride
    return int(np.clip(np.ceil(exact - 0.5), 0, count - 1))  # the lower of two equally near


def _describe(rig: _Rig, stimuli: StimulusSet, about: dict[str, str | float]) -> xr.Dataset:
    """All of the responses' dataset but the responses."""
    units = []
    for layer in rig.layers:
        place = rig.places.get(layer, NOWHERE)
        x, y = place.center
        units.append(
            unit_coordinates(
                layer, rig.shapes[layer][0], row=place.row, column=place.column, rf_x=x, rf_y=y
            )
        )
    coordinates = {
        name: ("unit", np.concatenate([unit[name] for unit in units]), UNIT_ATTRIBUTES.get(name))
        for name in units[0]
    }
    for name in ["family", *stimuli.parameters]:
        column = stimuli.table[name]
        coordinates[name] = ("stimulus", column.values, column.attrs)
    silence = rig.present(_blank_of(stimuli))[0]
    attributes = {"long_name": "response to the blank", "units": "1"}
    return xr.Dataset({"blank": ("unit", silence, attributes)}, coordinates, about)


def _blank_of(stimuli: StimulusSet) -> StimulusSet:
    """The field of the mean luminance around which the stimuli modulate."""
    means = np.unique(stimuli.table["mean_luminance"].values)
    if means.size > 1:
        raise ValueError(
            f"stimuli of mean_luminance={means.tolist()} have no one blank; record them apart"
        )
    return blank(mean_luminance=float(means[0]))


def _model_sha256(model: nn.Module) -> str:
    """Identifies the model: its modules with their settings, and what is loaded of weights."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        if not tensor.is_meta:
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
