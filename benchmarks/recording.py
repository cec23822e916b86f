"""What recording costs, beside the bare forward pass and other people's tools: ``make bench``.

Every measurement runs in a process of its own, in turn with the others, several rounds over, so
that no tool pays for another's caches and a busy minute of the machine falls on all. Before
anything is timed, all have to give the same numbers. Times are CPU seconds of one thread: of
showing the stimuli and reading the units, with the network built and the libraries imported.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import ephys
from ephys.electrodes import listening
from ephys.models.input_format import own_format
from ephys.receptive_field import geometry
from ephys.stimuli.gratings import grating
from ephys.stimuli.sweep import StimulusSet, sweep

RESULTS = Path(__file__).parent / "results"
# Rectified: of a convolution before a ReLU in place, torchvision's extractor gives the ReLU's.
STAGES = {
    "vgg16@none": ["features.3", "features.8", "features.15", "features.22", "features.29"],
    "torchvision:resnet50@none": ["conv1", "layer1", "layer2", "layer3", "layer4"],
}
EACH = 16  # images at a time, for the tools that do not choose by themselves
OPERATORS: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
SHARE = 3  # tools whose time is in proportion to the stimuli are shown a third of them
COMPARED = 8  # stimuli of which the numbers are compared


def gratings(count: int) -> StimulusSet:
    """The first of 1,152: 12 orientations, 6 spatial frequencies, 4 phases and 4 contrasts.

    More than that are the same again in finer steps of orientation.
    """
    orientations = 12 * max(1, -(-count // 1152))
    return sweep(
        grating,
        orientation=np.arange(orientations) * 180 / orientations,
        spatial_frequency=[0.5, 1, 2, 4, 6, 8],
        phase=[0, 90, 180, 270],
        contrast=[0.125, 0.25, 0.5, 1],
    )[:count]


def recorder(model: nn.Module, layers: list[str], stimuli: StimulusSet) -> np.ndarray:
    """(a) ephys: the central units, with the stimuli at the centre of the image."""
    return ephys.record(model, stimuli, layers, centered=False)["response"].values


def recorder_uncropped(model: nn.Module, layers: list[str], stimuli: StimulusSet) -> np.ndarray:
    """(a) ephys, the same units without cropping."""
    return ephys.record(model, stimuli, layers, centered=False, crop=False)["response"].values


def bare_forward(model: nn.Module, layers: list[str], stimuli: StimulusSet) -> np.ndarray:
    """(b) the forward pass to the deepest layer and nothing else: the limit without cropping.

    Layers are taken to be called one after the other, as in the networks here.
    """
    trunk = up_to(model, layers[-1])
    with torch.inference_mode():
        for images in batches(model, stimuli):
            trunk(images)
    return np.empty(0)


def plain_hooks(model: nn.Module, layers: list[str], stimuli: StimulusSet) -> np.ndarray:
    """(c) a hook per layer that keeps the central unit; the whole network, on whole images."""
    caught: dict[str, Tensor] = {}

    def hook_of(layer: str) -> Callable[[nn.Module, object, Tensor], None]:
        site = central(model, layer)
        return lambda module, inputs, output: caught.update({layer: output[..., *site].clone()})

    handles = [model.get_submodule(n).register_forward_hook(hook_of(n)) for n in layers]
    answers = []
    with torch.inference_mode():
        for images in batches(model, stimuli):
            model(images)
            answers.append(torch.cat([caught[layer] for layer in layers], dim=1))
    for handle in handles:
        handle.remove()
    return torch.cat(answers).numpy()


def torchvision_extractor(model: nn.Module, layers: list[str], stimuli: StimulusSet) -> np.ndarray:
    """(d) torchvision.models.feature_extraction."""
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor = create_feature_extractor(model, layers)
    sites = {layer: central(model, layer) for layer in layers}
    answers = []
    with torch.inference_mode():
        for images in batches(model, stimuli):
            out = extractor(images)
            answers.append(torch.cat([out[n][..., *sites[n]] for n in layers], dim=1))
    return torch.cat(answers).numpy()


def torchlens(model: nn.Module, layers: list[str], stimuli: StimulusSet) -> np.ndarray:
    """(e) torchlens."""
    import torchlens

    sites = {layer: central(model, layer) for layer in layers}
    answers = []
    with torch.no_grad():
        for images in batches(model, stimuli):
            out = torchlens.extract(model, images, {layer: layer for layer in layers})
            answers.append(torch.cat([out[n][..., *sites[n]] for n in layers], dim=1))
    return torch.cat(answers).numpy()


TOOLS = {
    tool.__name__: tool
    for tool in (
        *(recorder, recorder_uncropped, bare_forward),
        *(plain_hooks, torchvision_extractor, torchlens),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stimuli", type=int, default=1152)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--many", type=int, default=100_000, help="stimuli for peak memory")
    parser.add_argument("--model", choices=STAGES, nargs="+", default=list(STAGES))
    parser.add_argument("--measure", nargs=4, metavar="TOOL MODEL LAYERS OUT", help="one of them")
    arguments = parser.parse_args()
    if arguments.measure:
        tool, name, layers, out = arguments.measure
        measure(tool, name, layers, out, arguments.stimuli)
        return
    RESULTS.mkdir(exist_ok=True)
    tables = [times(model, arguments.stimuli, arguments.rounds) for model in arguments.model]
    report("recording_time", pd.concat(tables))
    report("recording_memory", memory(arguments.many))
    report("recording_command", command(arguments.rounds))
    figure(pd.concat(tables)).savefig(RESULTS / "recording.svg")


def times(name: str, count: int, rounds: int) -> pd.DataFrame:
    """Median CPU seconds of each tool: for stages alone, by ephys, and for all stages."""
    stages = STAGES[name]
    jobs = [("recorder", [stage]) for stage in stages[:-1]]
    jobs += [(tool, stages) for tool in TOOLS]
    check_agreement(name, stages)
    counts = [count if tool.startswith("recorder") else count // SHARE for tool, _ in jobs]
    counts[jobs.index(("recorder", stages))] = count // SHARE
    seconds: dict[int, list[float]] = {i: [] for i in range(len(jobs))}  # per 1,000 stimuli
    for turn in range(rounds):
        for i, (tool, layers) in enumerate(jobs):
            found = in_process(tool, name, layers, counts[i])
            seconds[i].append(1000 * found["cpu_seconds"] / counts[i])
            print(f"round {turn + 1}: {name} {tool} {'+'.join(layers)}", found, file=sys.stderr)
    bare = next(i for i, (tool, _) in enumerate(jobs) if tool == "bare_forward")
    hooks = next(i for i, (tool, _) in enumerate(jobs) if tool == "plain_hooks")
    rows = []
    for i, (tool, layers) in enumerate(jobs):
        ratio = {
            "times_bare_forward": np.median(np.divide(seconds[i], seconds[bare])),
            "faster_than_hooks": np.median(np.divide(seconds[hooks], seconds[i])),
        }
        size = max(found_size(name, layer) for layer in layers)
        rows.append(
            {
                "model": name.removesuffix("@none"),
                "tool": tool,
                "layers": " ".join(layers),
                "receptive_field_px": size,
                "stimuli": counts[i],
                "rounds": rounds,
                "cpu_seconds_per_1000": np.median(seconds[i]),
                **ratio,
            }
        )
    return pd.DataFrame(rows)


def check_agreement(name: str, stages: list[str]) -> None:
    """All tools have to give the same numbers, to the rounding of sums in another order."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for tool in TOOLS:
            if tool != "bare_forward":
                out = Path(folder) / f"{tool}.npy"
                in_process(tool, name, stages, COMPARED, out)
                found[tool] = np.load(out)
    reference = found["plain_hooks"]
    largest = np.abs(reference).max()
    for tool, answers in found.items():
        assert answers.shape == reference.shape, (tool, answers.shape, reference.shape)
        off = np.abs(answers - reference).max() / largest
        print(
            f"{name}: {tool} differs from plain hooks by {off:.1e} of the largest", file=sys.stderr
        )
        assert off < 1000 * np.finfo(np.float32).eps, (tool, off)


def memory(many: int) -> pd.DataFrame:
    """Peak memory of the process, in megabytes, the libraries and the network included."""
    jobs = {
        "vgg16, features.8, 1,000 gratings": ("vgg16@none", ["features.8"], 1000),
        f"vgg16, features.8, {many:,} gratings": ("vgg16@none", ["features.8"], many),
        "vgg16, all 13 convolutions, 24 gratings": ("vgg16@none", ["type:Conv2d"], 24),
    }
    rows = []
    for what, (name, layers, count) in jobs.items():
        found = in_process("to_disk", name, layers, count)
        rows.append({"recording": what, **found})
        print(what, found, file=sys.stderr)
    return pd.DataFrame(rows)


def command(rounds: int) -> pd.DataFrame:
    """Seconds from the command to the table, of the first command of the README."""
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            out = str(Path(folder) / "run")
            subprocess.run(
                [sys.executable, "-m", "ephys", "probe", "-q", "-o", out],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds.append(time.perf_counter() - started)
    return pd.DataFrame([{"command": "ephys probe", "seconds": np.median(seconds)}])


def in_process(
    tool: str, name: str, layers: list[str], count: int, out: Path | None = None
) -> dict[str, float]:
    """One measurement, in a process of its own."""
    job = [tool, name, ",".join(layers), str(out or "")]
    script = [sys.executable, __file__, "--stimuli", str(count), "--measure", *job]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(tool: str, name: str, layers: str, out: str, count: int) -> None:
    """Print the CPU seconds and the peak memory of one tool; keep its numbers in ``out``."""
    declare_operators()
    model = ephys.models.load(name)
    stimuli, wanted = gratings(count), layers.split(",")
    torch.set_num_threads(1)  # so that CPU seconds are those of the work, on a busy machine too
    started = time.process_time()
    if tool == "to_disk":
        with tempfile.TemporaryDirectory() as folder:
            ephys.record(model, stimuli, wanted, path=Path(folder) / "store")
    else:
        answers = TOOLS[tool](model, wanted, stimuli)
        if out:
            np.save(out, answers)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({"cpu_seconds": round(seconds, 3), "peak_mb": round(peak)}))


def batches(model: nn.Module, stimuli: StimulusSet) -> Iterator[Tensor]:
    """Whole images as the model takes them."""
    takes = own_format(model)
    for start in range(0, len(stimuli), EACH):
        yield takes.encode(stimuli[start : start + EACH].render(takes.field))


def up_to(model: nn.Module, layer: str) -> Callable[[Tensor], None]:
    """Runs the forward pass until a layer has answered."""

    def run(images: Tensor) -> None:
        with listening(model, [layer], lambda *answer: True) as forward:
            forward(images)

    return run


def central(model: nn.Module, layer: str) -> tuple[int, int]:
    """Row and column of the central unit."""
    takes = own_format(model)
    found = geometry(model, layer, (takes.channels, takes.height_px, takes.width_px))
    row, column = found.positions[found.central(takes.height_px, takes.width_px)]
    return int(row), int(column)


def found_size(name: str, layer: str) -> int:
    declare_operators()
    model = ephys.models.load(name)
    takes = own_format(model)
    return geometry(model, layer, (takes.channels, takes.height_px, takes.width_px)).size[0]


def declare_operators() -> None:
    """Torchvision's own operators are not in every build; its classifiers do without."""
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        with suppress(RuntimeError):
            OPERATORS.define(schema)


def report(name: str, table: pd.DataFrame) -> None:
    """Print a table, and keep it with the machine that it was measured on."""
    machine = (
        f"# {platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}\n"
    )
    text = table.round(3).to_csv(index=False)
    (RESULTS / f"{name}.csv").write_text(machine + text)
    print(machine + table.round(2).to_string(index=False))


def processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()


def figure(table: pd.DataFrame) -> Figure:
    """Seconds per 1,000 stimuli of every tool, a panel per network."""
    mpl.rcParams["svg.hashsalt"] = "ephys"
    models = table["model"].unique()
    drawn = Figure(figsize=(5.5 * len(models), 3.8), layout="constrained")
    for axes, model in zip(drawn.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        rows = table[table["model"] == model].iloc[::-1]
        one = ~rows["layers"].str.contains(" ")
        names = [
            f"{tool.replace('_', ' ')}, {'one unit of ' + layers if alone else 'all stages'}"
            for tool, layers, alone in zip(rows["tool"], rows["layers"], one, strict=True)
        ]
        per_thousand = rows["cpu_seconds_per_1000"]
        bars = axes.barh(
            names,
            per_thousand,
            color=["C0" if t.startswith("rec") else "0.6" for t in rows["tool"]],
        )
        axes.bar_label(bars, fmt="%.3g", padding=3)
        axes.set_xscale("log")
        axes.margins(x=0.15)
        axes.set_xlabel("CPU seconds per 1,000 stimuli, one thread")
        axes.set_title(model)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


if __name__ == "__main__":
    main()
