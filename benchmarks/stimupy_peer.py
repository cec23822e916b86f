"""Draws with stimupy what benchmarks/stimuli.py asks for, in an environment of its own.

Reads a JSON list of keyword arguments, draws them all, and writes the CPU seconds that took and the
first few pictures.
"""

import json
import sys
import time

import numpy as np
from stimupy.stimuli.gabors import gabor
from stimupy.stimuli.plaids import sine_waves
from stimupy.stimuli.waves import sine_linear

FAMILIES = {"grating": sine_linear, "gabor": gabor, "plaid": sine_waves}


def main() -> None:
    family, asked, out, compared = sys.argv[1:]
    with open(asked) as file:
        rows = json.load(file)
    draw = FAMILIES[family]
    draw(**rows[0])  # what is done once is not counted
    kept = []
    started = time.process_time()
    for i, row in enumerate(rows):
        picture = draw(**row)["img"]
        if i < int(compared):
            kept.append(picture)
    np.savez(out, pictures=np.stack(kept), seconds=time.process_time() - started)


main()
