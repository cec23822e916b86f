"""What analyzing a large run costs: 9,024 gratings by 20,000 planted units, ``make bench``.

The store is planted with units of known tuning, and ``ephys analyze`` is run on it in a process of
its own, as a user would: tables, figure and page.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ephys.models.input_format import InputFormat
from ephys.responses import create_store, reopen_store, write
from ephys.stimuli.protocols import orientation

RESULTS = Path(__file__).parent / "results"
CHUNK = 256  # stimuli


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "planted"
        stimuli = plant(run, arguments.units)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ephys", "analyze", run], check=True)
        seconds = time.perf_counter() - started
        measured = len(pd.read_csv(run / "units.csv"))
    assert measured == arguments.units, f"{measured} of {arguments.units} units have a row"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    row = {"stimuli": stimuli, "units": measured, "seconds": round(seconds, 1), "peak_gb": peak}
    table = pd.DataFrame([row]).round(2)
    print(table.to_string(index=False))
    if arguments.units == parser.get_default("units"):
        table.to_csv(RESULTS / "analysis.csv", index=False)


def plant(run: Path, units: int) -> int:
    """A finished recording of units with von Mises tuning, a preferred frequency and an F1."""
    frequencies = 2.0 ** np.linspace(-2, 3.5, 47)
    stimuli = orientation(orientations=24, phases=8, spatial_frequencies=frequencies)
    rng = np.random.default_rng(0)
    preferred, octave = rng.uniform(0, 180, units), rng.uniform(-1.5, 3, units)
    kappa, modulation = rng.uniform(0.2, 4, units), rng.uniform(0, 1, units)
    place = ("row", "column", "rf_x", "rf_y", "rf_width", "rf_height")
    about = {
        "protocol": "orientation",
        "stimuli_sha256": stimuli.sha256,
        "input_format": json.dumps(asdict(InputFormat(channels=1, height_px=224, width_px=224))),
        "pixels_per_degree": 28.0,
        "readout": "center",
        "centered": 1,
    }
    coordinates = {
        "layer": ("unit", np.full(units, "planted")),
        "channel": ("unit", np.arange(units)),
        **{name: ("unit", np.zeros(units)) for name in place},
        **{
            name: ("stimulus", stimuli.table[name].values, stimuli.table[name].attrs)
            for name in ["family", *stimuli.parameters]
        },
    }
    blank = ("unit", np.full(units, 0.1, np.float32))
    path = run / "responses.zarr" / "orientation"
    path.parent.mkdir(parents=True)
    create_store(path, xr.Dataset({"blank": blank}, coordinates, about), chunk=CHUNK)
    store = reopen_store(path, {"stimuli_sha256": stimuli.sha256})
    for start in range(0, len(stimuli), CHUNK):
        rows = slice(start, min(start + CHUNK, len(stimuli)))
        theta, frequency, phase = (
            stimuli.table[name].values[rows, None]
            for name in ("orientation", "spatial_frequency", "phase")
        )
        tuned = np.exp(kappa * (np.cos(2 * np.deg2rad(theta - preferred)) - 1))
        passed = np.exp(-((np.log2(frequency) - octave) ** 2) / 2)
        modulated = 1 + modulation * np.cos(np.deg2rad(phase))
        write(store, rows, (0.1 + tuned * passed * modulated).astype(np.float32))
    names = {"model": "planted", "protocols": ["orientation"], "seed": 0, "command": ""}
    (run / "run.json").write_text(json.dumps(names))
    return len(stimuli)


if __name__ == "__main__":
    main()
