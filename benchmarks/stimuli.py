"""What drawing stimuli costs, beside stimupy and beside VGG-16's first convolution: ``make bench``.

stimupy runs in an environment of its own (``benchmarks/peers.txt``). Before anything is timed, both
have to draw the same pixels. Times are CPU seconds of one thread, medians over rounds taken in
turn, of a sweep of 1,000 stimuli of 224 x 224 pixels.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.stimuli import StimulusSet, gabor, grating, paired, plaid
from ephys.visual_field import VisualField

RESULTS = Path(__file__).parent / "results"
FIELD = VisualField(224, 224, 28.0)
# stimupy's origin is a pixel, the one to the lower right of the middle.
THEIRS = FIELD.centered_on(0.5 / 28, -0.5 / 28)
SEEN = {"visual_size": 8.0, "ppd": 28.0, "origin": "center", "round_phase_width": False}
COMPARED = 50
BATCH = 64
# stimupy counts the cycles of an oblique grating over a rounded length, and rounds distances to
# six decimals: of up to 11 degrees and 8 cycles that is a few 1e-5 of the range of luminances.
AGREE = 5e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="python with stimupy")
    parser.add_argument("--stimuli", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    first_convolution = convolution()
    rows = []
    for name, (ours, theirs) in sweeps(arguments.stimuli).items():
        seconds: dict[str, list[float]] = {"ephys": [], "stimupy": [], "conv1_1": []}
        for _ in range(arguments.rounds):
            peer, pictures = stimupy(arguments.peers, name, theirs)
            drawn = ours[:COMPARED].render(THEIRS)[:, 0].numpy()
            off = float(np.abs(drawn - pictures).max())
            assert off < AGREE, f"{name}: pixels differ by {off}"
            seconds["stimupy"].append(peer)
            seconds["ephys"].append(cpu_seconds(partial(draw_all, ours)))
            images = ours[:BATCH].render(FIELD).expand(-1, 3, -1, -1).contiguous()
            share = len(ours) / BATCH
            seconds["conv1_1"].append(share * cpu_seconds(partial(first_convolution, images)))
        middle = {tool: float(np.median(times)) for tool, times in seconds.items()}
        rows.append(
            {
                "stimuli": name,
                "count": len(ours),
                "largest_difference": off,
                **{f"{tool}_per_second": len(ours) / s for tool, s in middle.items()},
                "times_stimupy": middle["stimupy"] / middle["ephys"],
                "of_conv1_1": middle["ephys"] / middle["conv1_1"],
            }
        )
        print(pd.DataFrame(rows).round(4).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    table["machine"] = f"{platform.machine()}, one thread"
    table.to_csv(RESULTS / "stimuli_time.csv", index=False)


def sweeps(count: int) -> dict[str, tuple[StimulusSet, list[dict[str, object]]]]:
    """By family, our stimuli and stimupy's arguments for the same.

    Oblique all: at 0 and 90 degrees stimupy takes another way, on which it shifts the phase.
    """
    rng = np.random.default_rng(0)
    orientation = 1 + 88 * rng.random(count)
    frequency = 0.5 * 2 ** (4 * rng.random(count))
    phase = 360 * rng.random(count)
    contrast = 0.1 + 0.9 * rng.random(count)
    sd = 0.5 + rng.random(count)
    shown = {"orientation": orientation, "spatial_frequency": frequency, "phase": phase}

    def wave(i: int, turned: float = 0.0, amplitude: float | None = None) -> dict[str, object]:
        half = 0.5 * (contrast[i] if amplitude is None else amplitude)
        return {
            **SEEN,
            "frequency": float(frequency[i]),
            "rotation": float(orientation[i] - 90 + turned) % 360,  # of the normal of the bars
            "phase_shift": float(90 - phase[i]),  # of a sine
            "intensities": [0.5 - half, 0.5 + half],
        }

    everyone = range(count)
    crossed = [
        {
            "grating_parameters1": wave(i, 0.0, 1.0),
            "grating_parameters2": wave(i, 45.0, 1.0),
            "weight1": float(contrast[i]),
            "weight2": float(1 - contrast[i]),
        }
        for i in everyone
    ]
    mask: dict[str, ArrayLike] = {
        "mask_angle": 45,
        "mask_contrast": 1 - contrast,
        "mask_phase": phase,
    }
    return {
        "grating": (paired(grating, **shown, contrast=contrast), [wave(i) for i in everyone]),
        "gabor": (
            paired(gabor, **shown, contrast=contrast, envelope_sd=sd),
            [{**wave(i), "sigma": float(sd[i])} for i in everyone],
        ),
        "plaid": (paired(plaid, **shown, contrast=contrast, **mask), crossed),
    }


def stimupy(python: Path, family: str, rows: list[dict[str, object]]) -> tuple[float, np.ndarray]:
    """CPU seconds for all, and the first pictures."""
    with tempfile.TemporaryDirectory() as folder:
        asked, out = Path(folder) / "asked.json", Path(folder) / "out.npz"
        asked.write_text(json.dumps(rows))
        script = Path(__file__).with_name("stimupy_peer.py")
        # It warns whenever it adjusts a frequency by its last bit.
        command: list[str | Path] = [
            python,
            "-W",
            "ignore",
            script,
            family,
            asked,
            out,
            str(COMPARED),
        ]
        subprocess.run(command, check=True)
        with np.load(out) as answer:
            return float(answer["seconds"]), answer["pictures"]


def draw_all(stimuli: StimulusSet) -> None:
    for start in range(0, len(stimuli), BATCH):
        stimuli[start : start + BATCH].render(FIELD)


def convolution() -> Callable[[Tensor], Tensor]:
    layer = torch.nn.Conv2d(3, 64, 3, padding=1).requires_grad_(False)
    layer(torch.zeros(1, 3, 224, 224))
    return layer


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
