"""The whole experiment: a model, the stimuli, the responses on disk, and what they say.

A run is a folder:

    responses.zarr/PROTOCOL   what was recorded, and what was measured of the stimuli
    units.csv                 one row per protocol and unit, every measure
    units_columns.csv         what its columns are, and in which units
    population.csv            means and medians over units, with intervals
    macaque_v1.csv            how close to cells of macaque V1, if the gratings for it were shown
    figures/                  one figure per protocol
    report.html               all of it on one page
    run.json                  how it came about
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from ephys.analysis import ABOUT, RESPONSES, analyze
from ephys.electrodes import Contact, find_layers
from ephys.macaque_v1 import WITHIN
from ephys.models.checkpoint import write_atomically
from ephys.models.devices import placement
from ephys.models.input_format import InputFormat, own_format
from ephys.ranks import ranks
from ephys.receptive_field import BATCH, survey
from ephys.recording import Near, Readout, check, record
from ephys.stimuli.protocol_files import SUFFIXES, read_protocol
from ephys.stimuli.protocols import BATTERIES, DEFAULT, Protocol, protocol
from ephys.stimuli.sweep import StimulusSet
from ephys.verification import verify

FEW, ENOUGH_SECONDS = 8, 1.0  # stimuli to begin an estimate with, and more until it takes that
MARGIN = 0.15  # degrees by which a measured receptive field can lie beside the one that is known


def probe(
    model: nn.Module,
    protocols: Sequence[str | Protocol] = DEFAULT,
    *,
    out: str | Path,
    layers: Sequence[str] = (),
    source: str = "",
    input_format: InputFormat | None = None,
    seed: int = 0,
    readout: Readout | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
    command: str = "",
    **options: Any,
) -> Path:
    """Record a model's units while it sees the protocols' stimuli, and report on them.

    Under ``torchrun`` the processes share the recording out, and the first reports.

    Parameters
    ----------
    model : runs on the device that it is on, see ``models.load``.
    protocols : names of protocols or batteries (``ephys protocols`` lists them), paths of protocol
        files, or protocols.
    out : folder of the run.
    layers : names or globs; by default the model's own ``default_layers``.
    source, command : where the model is from and what was typed, to be noted with the responses.
    input_format : what the model takes; by default ``model.input_format``.
    seed : of the bootstrap.
    readout : see ``record``. By default ``"center"``, or of a protocol with stimuli of a screen of
        their own every unit that may look where most of them are: whose receptive field has its
        middle within 0.3 degrees.
    resume, overwrite : what to do with a run that is there already; of both, resume.
    quiet : no progress on stderr.
    options : how to record, see ``record``: ``centered``, ``batch_size``, ``dtype``, ...

    Returns
    -------
    ``out``, with everything listed above in it.

    Raises
    ------
    KeyError : for an unknown protocol or layer, naming the nearest.
    ValueError : for stimuli that cannot be shown, a bad protocol file, and for a run to resume that
        is another's.
    FileExistsError : if ``out`` exists and is neither to be resumed nor overwritten.
    """
    out = Path(out)
    _check_out(out, resume, overwrite)
    input_format = input_format or own_format(model)
    how = {**options, "layers": layers or default_layers(model), "input_format": input_format}
    chosen = choose_protocols(protocols, input_format)
    if seed < 0:
        raise ValueError(f"seed={seed} is below 0")
    for one in chosen:
        check(one.stimuli, model, input_format)
    us = ranks()
    us.wait()  # until all have found out as it was
    if overwrite and not resume and out.exists() and us.rank == 0:
        # Refuses, if it must, before anything is lost.
        first = chosen[0].stimuli
        record(model, first[:1], readout=choose_readout(first, readout), **how)
        shutil.rmtree(out)
    us.wait()
    source = source or type(model).__name__
    for one in chosen:
        path = out / RESPONSES / one.name
        shown = None
        if us.rank == 0 and not path.exists():
            shown = verify(one.stimuli, input_format.field)[["asked", "measured", "uncertainty"]]
        about = {"protocol": one.name, "purpose": one.purpose, "citation": one.citation}
        record(
            model,
            one.stimuli,
            **how,
            readout=choose_readout(one.stimuli, readout),
            path=path,
            resume=resume,
            provenance={"model": source, **about, "command": command},
            notes=None if shown is None else shown.drop_vars("family"),
            quiet=quiet,
        )
    if us.rank == 0:
        names = [one.name for one in chosen]
        run = {"model": source, "protocols": names, "seed": seed, "command": command}
        if not quiet and sys.stderr.isatty():
            print("tables and figures ...", file=sys.stderr)
        analyze(out, run)
        write_atomically(out / ABOUT, (json.dumps(run, indent=2) + "\n").encode())
    us.wait()
    return out


def estimate(
    model: nn.Module,
    protocols: Sequence[str | Protocol] = DEFAULT,
    *,
    layers: Sequence[str] = (),
    input_format: InputFormat | None = None,
    readout: Readout | None = None,
    **options: Any,
) -> pd.DataFrame:
    """What ``probe`` would record: stimuli, units, megabytes and seconds for each protocol.

    Some stimuli of each protocol are really shown, more and more until it takes a second longer
    than a few. ``seconds`` are of the recording; the tables and figures that follow are not in it.
    Parameters are those of ``probe``.
    """
    rows = []
    options["input_format"] = input_format = input_format or own_format(model)
    which = layers or default_layers(model)
    for one in choose_protocols(protocols, input_format):
        count, how = len(one.stimuli), {**options, "readout": choose_readout(one.stimuli, readout)}

        def show(some: int, one: Protocol = one, how: dict[str, Any] = how) -> xr.Dataset:
            return record(model, one.stimuli[:some], which, **how)

        units = show(FEW).sizes["unit"]  # the first time takes longer
        seconds = _seconds_to_record(count, show)
        rows.append((one.name, count, units, 4e-6 * count * units, seconds))
    return pd.DataFrame(rows, columns=["protocol", "stimuli", "units", "megabytes", "seconds"])


def _seconds_to_record(count: int, show: Callable[[int], object]) -> float:
    """So many stimuli, from showing a few, and then more until it takes a second longer."""

    def seconds(some: int) -> float:
        started = time.perf_counter()
        show(some)
        return time.perf_counter() - started

    some, once = FEW, seconds(FEW)
    total = once
    while some < count and total < once + ENOUGH_SECONDS:
        some = min(4 * some, count)
        total = seconds(some)
    each = max(total - once, 0) / max(some - FEW, 1)  # without what is done once
    return once + each * max(count - FEW, 0)


def choose_readout(stimuli: StimulusSet, wanted: Readout | None = None) -> Readout:
    """Which units to record of each layer: those that are wanted, or that look at the stimuli.

    Stimuli are brought to the central unit, or else, if they stay on a screen of their own, these
    are the units that look where most of the stimuli are.
    """
    if wanted is not None:
        return wanted
    if not stimuli.fixed:
        return "center"
    table = stimuli.table
    places = np.stack([table[axis].fillna(0).values for axis in ("x", "y")], axis=1)
    places, counts = np.unique(places, axis=0, return_counts=True)
    x, y = places[counts.argmax()].tolist()
    return Near(x, y, WITHIN + MARGIN)


def layer_table(
    model: nn.Module, input_format: InputFormat, patterns: Sequence[str] = ()
) -> pd.DataFrame:
    """The layers of a model: a star if recorded by default, name, type, output, receptive field.

    Parameters
    ----------
    input_format : what the model is shown.
    patterns : see ``find_layers``; by default every layer.
    """
    names = find_layers(model, patterns) if patterns else [n for n, _ in model.named_modules() if n]
    device, dtype = placement(model)
    noise = torch.rand(
        (BATCH, 1, input_format.height_px, input_format.width_px),
        generator=torch.Generator().manual_seed(0),
    )
    found = survey(model, names, input_format.encode(noise.to(device)).to(dtype))
    modules, default = dict(model.named_modules()), getattr(model, "default_layers", ())
    rows = []
    for layer in [*found.geometries, *found.refused]:
        name = Contact.parse(layer).name
        geometry = found.geometries.get(layer)
        output = " x ".join(map(str, geometry.shape)) if geometry else "not to be read"
        seen = ""
        if geometry and geometry.status != "unknown":
            seen = "{} x {} px".format(*geometry.size)
        rows.append(
            {
                "": "*" if name in default else "",
                "layer": layer,
                "type": type(modules[name]).__name__,
                "output": output,
                "receptive field": seen,
                "status": geometry.status if geometry else "",
            }
        )
    return pd.DataFrame(rows)


def choose_protocols(
    protocols: Sequence[str | Protocol], input_format: InputFormat
) -> list[Protocol]:
    """The protocols of some names, of batteries and of files, for the display of a model.

    Of a battery, those of color are left out for a model that sees none.

    Raises
    ------
    KeyError : for a name that is none, naming the nearest.
    ValueError : for no protocol, two of one name, and a bad file.
    """
    chosen = [one for name in protocols for one in _members(name, input_format)]
    if not chosen:
        raise ValueError(f"protocols={list(protocols)} names none; see: ephys protocols")
    names = [one.name for one in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"protocol {twice[0]!r} is asked for twice; leave one out, or rename it")
    return chosen


def _members(name: str | Protocol, input_format: InputFormat) -> Iterator[Protocol]:
    if isinstance(name, Protocol):
        yield name
    elif name in BATTERIES:
        for member in BATTERIES[name].members:
            one = protocol(member, input_format.field)
            if input_format.channels > 1 or not one.stimuli.colored:
                yield one
    elif Path(name).suffix.lower() in SUFFIXES:
        yield read_protocol(Path(name), input_format.field)
    else:
        yield protocol(name, input_format.field)


def default_layers(model: nn.Module) -> Sequence[str]:
    """The layers that a model names for recording.

    Raises
    ------
    ValueError : if it names none.
    """
    layers = getattr(model, "default_layers", ())
    if not layers:
        raise ValueError(
            f"which layers of {type(model).__name__}? pass layers (on the command line, --layers)"
        )
    return layers


def _check_out(out: Path, resume: bool, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / RESPONSES).is_dir():
        raise FileExistsError(f"{out} exists and is not a run; choose another place")
    if not (resume or overwrite):
        raise FileExistsError(f"{out} exists; pass --overwrite or --resume, or another -o")
