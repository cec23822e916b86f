"""Show stimuli to a model and record its units."""

import copy
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from ephys.cropping import Crop, find_crop
from ephys.electrodes import electrodes, find_layers, is_exact
from ephys.models.devices import placement
from ephys.models.input_format import InputFormat, own_format
from ephys.ranks import Ranks, ranks
from ephys.receptive_field import BATCH, survey
from ephys.responses import (
    UNIT_ATTRIBUTES,
    create_store,
    is_recorded,
    open_store,
    reopen_store,
    write,
)
from ephys.stimuli.sweep import StimulusSet
from ephys.visual_field import VisualField


@dataclass(frozen=True)
class Near:
    """A readout: every unit whose receptive field has its middle near a place.

    Parameters
    ----------
    x, y : degrees to the right of the middle of the field, and above it.
    within : largest distance, degrees.
    """

    x: float
    y: float
    within: float

    def __str__(self) -> str:
        return f"within {self.within:g} degrees of ({self.x:g}, {self.y:g})"


Readout = Literal["center", "mean", "max", "map"] | Near | Sequence[tuple[int, int]]
Site = int | tuple[int, ...] | None  # index of a position that is read, or of several; None for all
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda sites: sites.mean(-1),
    "max": lambda sites: sites.amax(-1),
}
PLACE = ("row", "column", "rf_x", "rf_y", "rf_width", "rf_height")
NAMED_READOUTS = ("center", "mean", "max", "map")
Dtype = Literal["float32", "bfloat16", "float16"]
MOST_AT_ONCE = 256  # stimuli that are written together, and at most lost to an interruption
FEWEST_AT_ONCE = 8  # or a store would be all files
REGION_BYTES = 64e6  # of responses that are written together
CPU_BYTES = (
    128_000_000  # of operands and result of an operation: more is no faster, and evicts caches
)
TRIALS = 2  # stimuli that are shown in several ways before a recording, to compare
ROUNDING = 1000  # units in the last place of the largest response by which answers may differ


def record(
    model: nn.Module,
    stimuli: StimulusSet,
    layers: Sequence[str],
    *,
    readout: Readout = "center",
    centered: bool = True,
    crop: bool = True,
    input_format: InputFormat | None = None,
    batch_size: int | None = None,
    dtype: Dtype = "float32",
    channels_last: bool = False,
    compiled: bool = False,
    path: str | Path | None = None,
    resume: bool = False,
    provenance: Mapping[str, str] | None = None,
    notes: xr.Dataset | None = None,
    quiet: bool = True,
) -> xr.Dataset:
    """Record what units of a model answer to stimuli.

    The model runs in evaluation mode on the device it is on, and is left as it was. Of each image
    only the part that the units see is drawn and run through the layers up to theirs, where that
    part can be told (:mod:`ephys.receptive_field`) and gives the same answers; a trial on a few
    stimuli checks that it does. Under ``torchrun`` the processes share out the stimuli of a
    recording that has a path; one in memory each makes for itself.

    Parameters
    ----------
    model : takes (batch, channel, y, x).
    stimuli : what to show, all on one background; the blank is shown as well.
    layers : names or patterns, see ``find_layers``, of layers whose output is (batch, channel, row,
        column), (batch, row, column, channel), (batch, token, feature) or (batch, feature). A layer
        that is called several times in a pass is recorded at each call, as ``name#1``,
        ``name#2``, ...
    readout : ``"center"`` records, for each channel, the unit whose receptive field is nearest
        the centre of the field; ``"mean"`` and ``"max"`` pool each channel over all positions;
        ``"map"`` records every unit; :class:`Near` those of every layer that look near a place,
        for stimuli that stay there; pairs (row, column) record the units at these positions of each
        layer.
    centered : show the stimuli centred on the receptive field of each unit, as a physiologist
        would. Else, and where a readout has no one position, they stay at the centre of the field;
        so do stimuli made for a screen of their own (``StimulusSet.fixed``).
    crop : whether to draw and run only what is seen.
    input_format : what the model takes; by default ``model.input_format``.
    batch_size : stimuli at a time; by default as many as memory is well spent on. Halved when
        memory runs out.
    dtype, channels_last, compiled : faster ways to run the model: in ``bfloat16`` or
        ``float16`` where PyTorch's autocast does, in the channels-last memory format, through
        ``torch.compile``. The attribute ``error`` tells by how much the trial's answers differ
        from those without, as a share of the layer's largest.
    path : where to write the responses as zarr; by default they stay in memory.
    resume : go on with the recording in ``path``, which must be of the same experiment.
    provenance : more to note in the attributes: where the model is from, say.
    notes : variables along ``stimulus`` to keep beside the responses: what was measured of the
        stimuli, say.
    quiet : no progress on stderr.

    Returns
    -------
    The dataset that :mod:`ephys.responses` describes.

    Raises
    ------
    KeyError : for layers that the model does not have or does not reach.
    ValueError : for stimuli that the field cannot show, layers with other outputs, positions that a
        layer does not have, and a recording to resume that is of another experiment.
    FileExistsError : if ``path`` exists and is not to be resumed.
    OSError : if it cannot be written; what was recorded until then is kept.
    MemoryError : if there is no memory for a single stimulus.

    Warns
    -----
    UserWarning : for a model that answers the same stimulus differently each time, or depending on
        the others of the batch, and where cropping was given up.
    """
    _check_options(layers, readout, batch_size, dtype)
    if not isinstance(readout, str | Near):
        readout = np.array(readout).tolist()  # plain numbers, to be noted
    path = None if path is None else Path(path)
    if path and path.exists() and not resume:
        raise FileExistsError(f"{path} exists; resume it, overwrite it, or choose another")
    us = ranks() if path else Ranks()
    input_format = input_format or own_format(model)
    field = input_format.field
    check(stimuli, model, input_format)
    centered = centered and not stimuli.fixed
    rig = _Rig(model, layers, readout, input_format, centered=centered, crop=crop)
    rig.hurry = _Hurry(dtype, channels_last, compiled)
    with rig:
        with rig.memory_for(TRIALS, list(rig.geometries)):
            found = rig.try_out(stimuli)
        about: dict[str, str | float] = {
            "model_sha256": _model_sha256(model),
            "stimuli_sha256": stimuli.sha256,
            "layers": ", ".join(rig.geometries),
            "readout": json.dumps(readout) if isinstance(readout, list) else str(readout),
            "input_format": json.dumps(asdict(input_format)),
            "pixels_per_degree": field.pixels_per_degree,
            "centered": int(centered),
            "crops": json.dumps([p.where() for p in rig.passes]),
            "batch_size": batch_size or "auto",
            **{name: str(how) for name, how in asdict(rig.hurry).items()},
            "device": rig.device.type,
            "torch": torch.__version__,
            "ephys": version("ephys"),
        }
        store: Path | Store = path or MemoryStore()
        us.wait()  # until all have seen that it is not there yet
        if us.rank == 0 and not (path and path.exists()):
            batches = {"batches": json.dumps(rig.batches(batch_size))}
            attributes = {**(provenance or {}), **about, **found, **batches}
            described = _describe(rig, stimuli, attributes)
            if notes is not None:
                described = described.merge(notes, combine_attrs="override")
            create_store(store, described, chunk=rig.region(batch_size, len(stimuli)))
        us.wait()
        responses = reopen_store(store, about)
        for one, batch in zip(
            rig.passes, json.loads(open_store(store).attrs["batches"]), strict=True
        ):
            one.batch = batch  # as before an interruption, since rounding depends on it
        step = responses.chunks[0]
        regions = [slice(i, min(i + step, len(stimuli))) for i in range(0, len(stimuli), step)]
        left = [rows for rows in regions if not is_recorded(responses, rows)]
        us.wait()  # until all have seen the same regions left
        silent = quiet or us.rank > 0 or not sys.stderr.isatty()
        with tqdm(total=len(stimuli), desc="record", unit=" stimuli", disable=silent) as progress:
            progress.update(len(stimuli) - sum(rows.stop - rows.start for rows in left))
            for rows in left[us.rank :: us.count]:
                write(responses, rows, rig.present(stimuli[rows]))
                progress.update((rows.stop - rows.start) * us.count)
        us.wait()
    return open_store(store)


def check(stimuli: StimulusSet, model: nn.Module, input_format: InputFormat) -> None:
    """Refuse, with a ValueError, stimuli that a model cannot be shown."""
    if input_format.channels == 1 and stimuli.colored:
        raise ValueError(
            f"{type(model).__name__} takes one channel and sees no color; show it stimuli of "
            "luminance, or these to a model that sees color, such as vgg16 or twolayer-batch-alike"
        )
    stimuli.check(input_format.field)
    _ = stimuli.blank  # refuses several backgrounds


def _check_channels(model: nn.Module, input_format: InputFormat, error: RuntimeError) -> None:
    """Say it, with a ValueError, if the first convolution takes other channels than are given."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels != input_format.channels:
        raise ValueError(
            f"input_format has channels={input_format.channels}, but the first convolution of "
            f"{type(model).__name__} takes {first.in_channels}; give InputFormat that many channels"
        ) from error


@dataclass(frozen=True)
class _Hurry:
    """Ways to run a model faster, at the cost of some precision."""

    dtype: Dtype = "float32"
    channels_last: bool = False
    compiled: bool = False


@dataclass
class _Pass:
    """Layers that are recorded in one forward pass, of the image or a crop of it.

    Parameters
    ----------
    origin : (x, y) in degrees, where the stimuli are centred.
    reads : by layer, the index of the position to read, or of several, or None for all.
    crop : None for the whole image.
    largest : bytes per image of the largest operation.
    batch : stimuli at a time.
    """

    origin: tuple[float, float]
    reads: dict[str, Site]
    crop: Crop | None
    largest: int
    batch: int = 1
    show: Callable[[Tensor], dict[str, Tensor]] | None = None

    def where(self) -> list[int]:
        """First row, last row, first column and last column that are run, plus one the last."""
        if self.crop is None:
            return []
        rows, columns = self.crop.rows, self.crop.columns
        return [rows.start, rows.stop, columns.start, columns.stop]


class _Rig:
    """A model with electrodes at certain units, in front of a field."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        readout: Readout,
        input_format: InputFormat,
        *,
        centered: bool,
        crop: bool,
    ) -> None:
        self.model, self.readout, self.input_format = model, readout, input_format
        self.field, self.centered = input_format.field, centered
        self.device, self.dtype = placement(model)
        self.hurry = _Hurry()
        self._open = ExitStack()
        noise = torch.rand(
            (BATCH, 1, self.field.height_px, self.field.width_px),
            generator=torch.Generator().manual_seed(0),
        )
        images = input_format.encode(noise.to(self.device)).to(self.dtype).contiguous()
        with self.memory_for(BATCH, layers):
            try:
                found = survey(model, find_layers(model, layers), images)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                _check_channels(model, input_format, error)
                raise
        for layer, reason in found.refused.items():
            if is_exact(layer, layers) or not found.geometries:
                raise (KeyError if "does not reach" in reason else ValueError)(reason)
        self.geometries = found.geometries
        self.sites = {layer: self._chosen(layer) for layer in self.geometries}
        self.largest = found.largest
        self.passes = list(self._plan(images, crop))

    def __enter__(self) -> "_Rig":
        return self

    def __exit__(self, *raised: object) -> None:
        self._open.close()

    def present(self, stimuli: StimulusSet) -> np.ndarray:
        """What all units answer: float32 (stimulus, unit)."""
        answers: dict[tuple[str, Site], list[Tensor]] = {
            (layer, site): [] for layer, sites in self.sites.items() for site in sites
        }
        for one in self.passes:
            start = 0
            while start < len(stimuli):
                size = one.batch
                try:
                    shown = self._answers(one, stimuli[start : start + size], self.hurry)
                except (RuntimeError, MemoryError) as error:
                    self._halve(one, error)
                    continue
                for layer, answer in shown.items():
                    answers[layer, one.reads[layer]].append(answer.float().cpu())
                start += size
        return torch.cat([torch.cat(parts) for parts in answers.values()], dim=1).numpy()

    def try_out(self, stimuli: StimulusSet) -> dict[str, str | float]:
        """Show some of the stimuli in several ways, and tell what comes of it.

        A pass whose crop is not answered as the whole image is, goes over to the whole image.
        """
        some = stimuli[np.unique(np.linspace(0, len(stimuli) - 1, TRIALS).astype(int))]
        notes: dict[str, str | float] = {}
        if influences := self._other_influences(some):
            layers, how = ", ".join(influences), " and ".join(dict.fromkeys(influences.values()))
            warnings.warn(f"answers of {layers} {how}", stacklevel=3)
            notes["not_a_function_of_the_stimulus"] = layers
        errors = [0.0]
        for one in self.passes:
            exact = self._answers(one, some, _Hurry())
            if one.crop is not None:
                whole = self._answers(replace(one, crop=None), some, _Hurry())
                if (off := _difference(exact, whole)) > ROUNDING * torch.finfo(self.dtype).eps:
                    warnings.warn(
                        f"{', '.join(one.reads)}: a crop is answered otherwise than the whole "
                        f"image (by {off:.1g} of the largest response); the whole image is shown",
                        stacklevel=3,
                    )
                    one.crop, one.largest, exact = None, self.largest, whole
            if self.hurry != _Hurry():
                errors.append(_difference(self._answers(one, some, self.hurry), exact))
        if self.hurry != _Hurry():
            notes["error"] = max(errors)
        return notes

    def batches(self, batch_size: int | None) -> list[int]:
        """How many stimuli each pass shows at a time."""
        spare = _spare_memory(self.device)
        return [
            batch_size or int(np.clip(spare // max(one.largest, 1), 1, MOST_AT_ONCE))
            for one in self.passes
        ]

    def region(self, batch_size: int | None, stimuli: int) -> int:
        """How many stimuli are written together: a few whole batches, if their size is given."""
        units = len(self.coordinates()["channel"])
        wanted = batch_size * -(-FEWEST_AT_ONCE // batch_size) if batch_size else MOST_AT_ONCE
        return max(1, min(wanted, int(REGION_BYTES // (4 * units)), stimuli))

    def coordinates(self) -> dict[str, np.ndarray]:
        """Of each unit: layer, channel, place in the layer, and receptive field in degrees."""
        tables = []
        for layer, sites in self.sites.items():
            units = self.geometries[layer].units
            for site in sites:
                places = self._places(layer, site)
                columns = dict(zip(PLACE, np.repeat(places, units, axis=0).T, strict=True))
                channels = np.tile(np.arange(units), len(places))
                names = np.full(channels.size, layer)
                tables.append({"layer": names, "channel": channels, **columns})
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    def _places(self, layer: str, site: Site) -> np.ndarray:
        """Of what is read: row, column, and centre and size of the receptive field in degrees."""
        if site is None and self.readout != "map":
            return np.full((1, len(PLACE)), np.nan)
        geometry, scale = self.geometries[layer], self.field.pixels_per_degree
        middle = np.array([self.field.height_px - 1, self.field.width_px - 1]) / 2
        down, right = ((geometry.centers - middle) / scale).T
        first_row, last_row, first_column, last_column = geometry.boxes.T
        width, height = (last_column - first_column + 1) / scale, (last_row - first_row + 1) / scale
        places = np.stack([*geometry.positions.T, right, -down + 0.0, width, height], axis=1)
        return places if site is None else places[np.atleast_1d(site)]

    def _chosen(self, layer: str) -> Sequence[Site]:
        """Which of a layer's positions are read, None for all of them."""
        geometry = self.geometries[layer]
        if isinstance(self.readout, Near):
            return [self._near(layer, self.readout)]
        if self.readout == "center":
            return [geometry.central(self.field.height_px, self.field.width_px)]
        if isinstance(self.readout, str):
            return [None]
        chosen = []
        for position in self.readout:
            found = np.flatnonzero((geometry.positions == position).all(1))
            if not found.size:
                grid = "no positions"
                if np.isfinite(geometry.positions).any():
                    rows, columns = np.nanmax(geometry.positions, axis=0).astype(int) + 1
                    grid = f"{rows} rows and {columns} columns, counted from 0"
                raise ValueError(f"readout={tuple(position)}: layer {layer!r} has {grid}")
            chosen.append(int(found[0]))
        return chosen

    def _near(self, layer: str, place: Near) -> tuple[int, ...]:
        """The positions of a layer that look near a place."""
        everywhere = np.arange(len(self.geometries[layer].positions))
        x, y = self._places(layer, tuple(everywhere))[:, 2:4].T
        distance = np.hypot(x - place.x, y - place.y)
        found = np.flatnonzero(distance <= place.within)
        if not found.size:
            nearest = "where they look is not known"
            if not np.isnan(distance).all():
                nearest = f"the nearest is {np.nanmin(distance):.3g} degrees from there"
            raise ValueError(
                f"no unit of layer {layer!r} looks {place}; {nearest}: record another layer, or "
                "choose a readout"
            )
        return tuple(found.tolist())

    def _plan(self, images: Tensor, crop: bool) -> Iterator[_Pass]:
        """The passes in which everything is recorded that is wanted."""
        together: dict[tuple[tuple[float, float], int], dict[str, Site]] = {}
        for layer, sites in self.sites.items():
            for count, site in enumerate(sites):
                x, y = self._places(layer, site)[0, 2:4] if isinstance(site, int) else (0.0, 0.0)
                origin = (
                    (float(x), float(y)) if self.centered and np.isfinite([x, y]).all() else None
                )
                key = (origin or (0.0, 0.0), 0 if isinstance(self.readout, str) else count)
                together.setdefault(key, {})[layer] = site
        for (origin, _), reads in together.items():
            while reads:
                one = self._deepest_pass(origin, reads, images, crop)
                yield one
                reads = {layer: site for layer, site in reads.items() if layer not in one.reads}

    def _deepest_pass(
        self,
        origin: tuple[float, float],
        reads: dict[str, Site],
        images: Tensor,
        crop: bool,
    ) -> _Pass:
        """The pass for the last of some layers, with the others that it goes by at no cost."""
        whole = _Pass(origin, reads, None, self.largest)
        sites = {layer: site for layer, site in reads.items() if site is not None}
        if not crop or len(sites) < len(reads):
            return whole
        *_, deepest = sites
        found = find_crop(self.model, {deepest: sites[deepest]}, self.geometries, images)
        if found is None:
            return whole
        within = {
            layer: site
            for layer, site in sites.items()
            if found.holds(self.geometries[layer].boxes[np.array(site)])
        }
        if len(within) == 1:
            return _Pass(origin, dict(within), found, found.largest)
        shared = find_crop(self.model, within, self.geometries, images)
        if shared is None or shared.area > found.area:
            return _Pass(origin, {deepest: sites[deepest]}, found, found.largest)
        return _Pass(origin, dict(within), shared, shared.largest)

    def _answers(self, one: _Pass, stimuli: StimulusSet, hurry: _Hurry) -> dict[str, Tensor]:
        """What the units of a pass answer: by layer, (stimulus, unit)."""
        view = self.field.centered_on(*one.origin)
        if one.crop is not None:
            view = view.crop(one.crop.rows, one.crop.columns)
        inputs = self._input(stimuli, view)
        if hurry.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        reduced = hurry.dtype != "float32"
        with (
            torch.no_grad(),  # and not inference_mode, or what the model keeps could not be trained
            torch.autocast(self.device.type, getattr(torch, hurry.dtype), enabled=reduced),
            self._electrodes(one, compiled=hurry.compiled) as show,
        ):
            return show(inputs)

    def _electrodes(
        self, one: _Pass, *, compiled: bool
    ) -> AbstractContextManager[Callable[[Tensor], dict[str, Tensor]]]:
        if not compiled:
            return electrodes(self.model, list(one.reads), readout=self._reader(one))
        if one.show is None:
            # Hooks are compiled with the network, so each pass keeps one of its own; the weights
            # are shared.
            weights = [*self.model.parameters(), *self.model.buffers()]
            twin = copy.deepcopy(self.model, {id(tensor): tensor for tensor in weights})
            stuck = electrodes(
                twin, list(one.reads), readout=self._reader(one), forward=torch.compile(twin)
            )
            one.show = self._open.enter_context(stuck)
        return nullcontext(one.show)

    def _reader(self, one: _Pass) -> Callable[[str, Tensor], Tensor]:
        def read(layer: str, output: Tensor) -> Tensor:
            sites = self.geometries[layer].sites(output)  # (stimulus, unit, position)
            site = one.crop.sites[layer] if one.crop is not None else one.reads[layer]
            if isinstance(site, int):
                return sites[..., site].clone()
            if isinstance(site, tuple):
                return sites[..., list(site)].movedim(1, 2).flatten(1)
            if self.readout == "map":
                return sites.movedim(1, 2).flatten(1).clone()
            return POOLS[str(self.readout)](sites)

        return read

    def _input(self, stimuli: StimulusSet, view: VisualField) -> Tensor:
        """The stimuli as the model takes them: (stimulus, channel, y, x)."""
        channels = min(stimuli.channels, self.input_format.channels)
        images = stimuli.render(view, device=self.device, channels=channels, check=False)
        return self.input_format.encode(images).to(self.dtype).contiguous()  # to be written to

    def _other_influences(self, some: StimulusSet) -> dict[str, str]:
        """Layers whose answers do not depend on the stimulus alone, and on what else."""
        inputs = self._input(some, self.field)
        layers = list(self.geometries)

        def summary(layer: str, output: Tensor) -> Tensor:
            sites = self.geometries[layer].sites(output)
            return torch.cat([sites.mean(-1), sites.amax(-1)], dim=1)

        with torch.no_grad(), electrodes(self.model, layers, readout=summary) as show:
            before, after, alone = (show(x.clone()) for x in (inputs, inputs, inputs[-1:]))
        found = {}
        for layer, answer in before.items():
            if self._differ(answer, after[layer]):
                found[layer] = "differ from one showing to the next"
            elif self._differ(answer[-1:], alone[layer]):
                found[layer] = "depend on the other stimuli that are shown with them"
        return found

    def _differ(self, a: Tensor, b: Tensor) -> bool:
        return _difference({"": a}, {"": b}) > ROUNDING * torch.finfo(self.dtype).eps

    def _halve(self, one: _Pass, error: Exception) -> None:
        """Show fewer at a time, if that is what was wrong."""
        if not _is_out_of_memory(error):
            raise error
        if one.batch == 1:
            with self.memory_for(1, list(one.reads)):
                raise error
        one.batch //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def memory_for(self, count: int, layers: Sequence[str]) -> Iterator[None]:
        """Says for what there is no memory, where it runs out."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise MemoryError(
                f"no memory on {self.device} for stimuli of {self.field.height_px} x "
                f"{self.field.width_px} pixels at {', '.join(layers)}, {count} at a time; record "
                "fewer layers, or smaller images"
            ) from error


def _check_options(
    layers: Sequence[str], readout: Readout, batch_size: int | None, dtype: str
) -> None:
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers={layers!r} is no list of names or patterns")
    if isinstance(readout, str):
        if readout not in NAMED_READOUTS:
            known = ", ".join(NAMED_READOUTS)
            raise ValueError(f"readout={readout!r} is none of {known}, nor a list of positions")
    elif isinstance(readout, Near):
        if not (np.isfinite([readout.x, readout.y]).all() and readout.within > 0):
            raise ValueError(f"readout={readout!r} is no place, or not within more than 0 degrees")
    elif not len(readout) or any(np.shape(position) != (2,) for position in readout):
        raise ValueError(f"readout={readout!r} is no list of positions (row, column)")
    elif len({tuple(position) for position in readout}) < len(readout):
        raise ValueError(f"readout={readout!r} names a position twice")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; show at least 1 stimulus at a time")
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype={dtype!r} is none of {', '.join(get_args(Dtype))}")


def _difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The largest by which answers differ, as a share of the largest answer of the layer in b."""
    worst = 0.0
    for layer, reference in b.items():
        x, y = a[layer].cpu().double(), reference.cpu().double()
        off = torch.where((x == y) | (x.isnan() & y.isnan()), 0, (x - y).abs()).max().item()
        worst = max(
            worst, np.inf if np.isnan(off) else off / (y.abs().nan_to_num().max().item() or 1)
        )
    return worst


def _spare_memory(device: torch.device) -> int:
    """Bytes that the largest operation of a pass may take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 8
    return CPU_BYTES


def _is_out_of_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        phrase in words
        for phrase in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _describe(rig: _Rig, stimuli: StimulusSet, about: dict[str, str | float]) -> xr.Dataset:
    """All of the responses' dataset but the responses."""
    coordinates = {
        name: ("unit", values, UNIT_ATTRIBUTES.get(name))
        for name, values in rig.coordinates().items()
    }
    for name in ["family", *stimuli.parameters]:
        column = stimuli.table[name]
        coordinates[name] = ("stimulus", column.values, column.attrs)
    attributes = {"long_name": "response to the blank", "units": "1"}
    answer = ("unit", rig.present(stimuli.blank)[0], attributes)
    return xr.Dataset({"blank": answer}, coordinates, about)


def _model_sha256(model: nn.Module) -> str:
    """Identifies the model: its modules with their settings, and what is loaded of weights."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        if not tensor.is_meta:
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
