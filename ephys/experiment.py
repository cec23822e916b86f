"""The whole experiment: a model, the stimuli, the responses on disk, and what they say.

A run is a folder:

    responses.zarr/PROTOCOL   what was recorded
    units.csv                 one row per protocol and unit, every measure
    population.csv            means and medians over units, with intervals
    figures/                  one figure per protocol
    report.html               all of it on one page
    run.json                  how it came about
"""

import difflib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from ephys.analysis import ABOUT, RESPONSES, analyze
from ephys.models.checkpoint import write_atomically
from ephys.models.input_format import InputFormat, own_format
from ephys.recording import BATCH_SIZE, Readout, record
from ephys.stimuli.protocols import PROTOCOLS
from ephys.stimuli.sweep import StimulusSet


def probe(
    model: nn.Module,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    *,
    out: str | Path,
    layers: Sequence[str] = (),
    source: str = "",
    readout: Readout = "center",
    input_format: InputFormat | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
    command: str = "",
) -> Path:
    """Record a model's units while it sees the protocols' stimuli, and report on them.

    Parameters
    ----------
    model : runs on the device that it is on, see ``models.load``.
    protocols : names of ``stimuli.protocols.PROTOCOLS``.
    out : folder of the run.
    layers : names or globs; by default the model's own ``default_layers``.
    source, command : where the model is from and what was typed, to be noted with the responses.
    readout, input_format, batch_size : see ``record``.
    seed : of the bootstrap.
    resume, overwrite : what to do with a run that is there already; of both, resume.
    quiet : no progress on stderr.

    Returns
    -------
    ``out``, with everything listed above in it.

    Raises
    ------
    KeyError : for an unknown protocol or layer, naming the nearest.
    ValueError : for stimuli that cannot be shown, and for a run to resume that is another's.
    FileExistsError : if ``out`` exists and is neither to be resumed nor overwritten.
    """
    out = Path(out)
    _check_out(out, resume, overwrite)
    input_format = input_format or own_format(model)
    how: Any = {
        "layers": layers or default_layers(model),
        "readout": readout,
        "input_format": input_format,
        "batch_size": batch_size,
    }
    sets = {name: stimulus_set(name) for name in protocols}
    if not sets:
        raise ValueError(
            f"protocols={list(protocols)} names none; there are {', '.join(PROTOCOLS)}"
        )
    if seed < 0:
        raise ValueError(f"seed={seed} is below 0")
    for stimuli in sets.values():
        stimuli.check(input_format.field)
    if overwrite and not resume and out.exists():
        record(model, stimuli[:1], **how)  # refuses, if it must, before anything is lost
        shutil.rmtree(out)
    source = source or type(model).__name__
    for name, stimuli in sets.items():
        record(
            model,
            stimuli,
            **how,
            path=out / RESPONSES / name,
            resume=resume,
            provenance={"model": source, "protocol": name, "command": command},
            quiet=quiet,
        )
    about = {"model": source, "protocols": list(sets), "seed": seed, "command": command}
    analyze(out, about)
    write_atomically(out / ABOUT, (json.dumps(about, indent=2) + "\n").encode())
    return out


def estimate(
    model: nn.Module,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    *,
    layers: Sequence[str] = (),
    readout: Readout = "center",
    input_format: InputFormat | None = None,
    batch_size: int = BATCH_SIZE,
) -> pd.DataFrame:
    """What ``probe`` would record: stimuli, units, megabytes and seconds for each protocol.

    A few batches of each protocol are really shown. Parameters are those of ``probe``.
    """
    rows = []
    for name in protocols:
        stimuli = stimulus_set(name)
        seconds = []
        for batches in (1, 4):  # the difference leaves out what is done once
            started = time.perf_counter()
            responses = record(
                model,
                stimuli[: batches * batch_size],
                layers or default_layers(model),
                readout=readout,
                input_format=input_format,
                batch_size=batch_size,
            )
            seconds.append(time.perf_counter() - started)
        per_batch = max(seconds[1] - seconds[0], 0) / 3
        total = seconds[0] + per_batch * len(stimuli) / batch_size
        units = responses.sizes["unit"]
        rows.append((name, len(stimuli), units, 4e-6 * len(stimuli) * units, total))
    return pd.DataFrame(rows, columns=["protocol", "stimuli", "units", "megabytes", "seconds"])


def stimulus_set(protocol: str) -> StimulusSet:
    """The stimuli of a protocol, by name.

    Raises
    ------
    KeyError : for a name that is none, naming the nearest.
    """
    if protocol not in PROTOCOLS:
        close = difflib.get_close_matches(protocol, PROTOCOLS, n=2, cutoff=0.3) or [*PROTOCOLS]
        raise KeyError(f"no protocol {protocol!r}; did you mean {' or '.join(close)}?")
    return PROTOCOLS[protocol]()


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
