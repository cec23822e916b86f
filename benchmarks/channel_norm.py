"""What channel normalization costs beside torch's group norm: ``make bench``.

Layers alone, and the training step of the two-layer network (forward pass, loss, gradients and an
SGD step) with each of them, on the CPU and on CUDA where there is one. A group-norm network has a
ReLU after each convolution and a network with channel competition need not, so that a layer counts
with the ReLU before it. ``plain`` is the formula written out in torch operations.

Everything runs in turn with the others, round after round, and is compared within a round, so that
a busy minute of the machine falls on all. Times are CPU seconds for one thread and seconds of the
clock otherwise. Memory is what a forward pass keeps for the gradients, parameters apart: for CUDA
also the peak of a step. Before anything is timed, a loop over single numbers has to agree.
"""

import argparse
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ephys.models.channel_norm import ChannelGroupNorm
from ephys.models.twolayer import TwoLayerCNN, TwoLayerSettings

RESULTS = Path(__file__).parent / "results"
BATCH, SIZE_PX = 128, 32
SHAPES = ((64, 16), (128, 8), (64, 32), (128, 16))  # channels and side of the maps in the networks
WARM_UP = 3
REFERENCE = "relu + group"  # what ratios are to


class Plain(ChannelGroupNorm):
    """The same layer as a chain of operations, each with its result."""

    def forward(self, x: Tensor) -> Tensor:
        squares = x.view(len(x), self.groups, self.size, *x.shape[2:]) ** 2
        gamma, sigma = (p.view(-1, *[1] * (x.dim() - 1)) for p in (self.gamma, self.sigma))
        return (gamma.exp() * squares / (squares.sum(2, keepdim=True) + sigma**2)).flatten(1, 2)


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "group": lambda channels: nn.GroupNorm(channels // ChannelGroupNorm(channels).size, channels),
    "competition": ChannelGroupNorm,
    "plain": Plain,
}
CASES = (REFERENCE, "relu + competition", "competition", "plain", "group")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the CPU")
    arguments = parser.parse_args()
    check_agreement()
    places = [("cpu", threads) for threads in arguments.threads]
    places += [("cuda", 1)] * torch.cuda.is_available()
    tables = []
    for device, threads in places:
        torch.set_num_threads(threads)
        for channels, side in SHAPES:
            steps = {case: layer_step(case, channels, side, device) for case in CASES}
            about = f"layer {channels}x{side}x{side}"
            tables.append(compared(about, steps, device, threads, arguments.rounds))
        for stride, channels_last in [(2, False), (2, True), (1, False), (1, True)]:
            steps = {case: training_step(case, stride, channels_last, device) for case in CASES}
            about = f"step, stride {stride}" + channels_last * ", channels last"
            tables.append(compared(about, steps, device, threads, arguments.rounds))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = (
        f"# {platform.system()} {platform.machine()}, {gpu}, batch of {BATCH}, Python "
        f"{platform.python_version()}, torch {torch.__version__}\n"
    )
    RESULTS.mkdir(exist_ok=True)
    if arguments.rounds >= parser.get_default("rounds"):  # fewer are a trial
        text = pd.concat(tables).to_csv(index=False, float_format="%.4g")
        (RESULTS / "channel_norm.csv").write_text(machine + text)


class Step:
    """A pass forward and one back, on data of its own."""

    def __init__(self, forward: Callable[[], Tensor], back: Callable[[Tensor], None]) -> None:
        self.forward, self.back = forward, back

    def seconds(self, device: str, threads: int) -> float:
        clock = time.process_time if (device, threads) == ("cpu", 1) else time.perf_counter
        if device == "cuda":
            torch.cuda.synchronize()
        started = clock()
        self.back(self.forward())
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - started

    def kept_megabytes(self) -> float:
        """Of arrays that the forward pass keeps, each counted once; parameters are not."""
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            if not isinstance(tensor, nn.Parameter):
                storage = tensor.untyped_storage()
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = self.forward()
        self.back(output)
        return sum(kept.values()) / 2**20

    def peak_megabytes(self, device: str) -> float:
        """Beyond what is there before the step; NaN where it is not known."""
        if device != "cuda":
            return math.nan
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self.back(self.forward())
        return (torch.cuda.max_memory_allocated() - before) / 2**20


def layer_step(case: str, channels: int, side: int, device: str) -> Step:
    layer = LAYERS[case.removeprefix("relu + ")](channels)
    module = nn.Sequential(nn.ReLU(), layer) if case.startswith("relu") else layer
    module.to(device)
    x = torch.randn(BATCH, channels, side, side, device=device)
    dy = torch.randn_like(x)

    def back(y: Tensor) -> None:
        torch.autograd.grad(y, [given, *module.parameters()], dy)

    given = x.requires_grad_()
    return Step(lambda: module(given), back)


def training_step(case: str, stride: int, channels_last: bool, device: str) -> Step:
    torch.manual_seed(0)
    settings = TwoLayerSettings(
        normalization="group" if case.endswith("group") else "competition",
        rectified=case.startswith("relu"),
        stride=stride,
        size_px=SIZE_PX,
    )
    model = TwoLayerCNN(settings)
    if case == "plain":
        model.norm1[0], model.norm2[0] = Plain(settings.filters), Plain(settings.filters_2)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX, device=device).to(memory_format=layout)
    labels = torch.randint(0, 10, (BATCH,), device=device)

    def back(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return Step(lambda: F.cross_entropy(model(images), labels), back)


def compared(
    about: str, steps: dict[str, Step], device: str, threads: int, rounds: int
) -> pd.DataFrame:
    """Median seconds, and ratios to the reference within a round: median and quartiles."""
    for step in steps.values():
        for _ in range(WARM_UP):
            step.seconds(device, threads)
    names = list(steps)
    seconds = np.empty((rounds, len(names)))
    for turn in range(rounds):
        for i in np.roll(np.arange(len(names)), turn):  # each comes after each
            seconds[turn, i] = steps[names[i]].seconds(device, threads)
    ratios = seconds / seconds[:, [names.index(REFERENCE)]]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0)
    kept = np.array([step.kept_megabytes() for step in steps.values()])
    table = pd.DataFrame(
        {
            "what": about,
            "device": device,
            "threads": threads,
            "network": names,
            "milliseconds": 1e3 * np.median(seconds, axis=0),
            "ratio": middle,
            "ratio_lower_quartile": low,
            "ratio_upper_quartile": high,
            "kept_megabytes": kept,
            "kept_ratio": kept / kept[names.index(REFERENCE)],
            "peak_megabytes": [step.peak_megabytes(device) for step in steps.values()],
        }
    )
    print(table.to_string(index=False, float_format="%.3g"), flush=True)
    return table


def check_agreement() -> None:
    """A loop over single numbers in float64, and the chain of operations on maps of full size."""
    torch.manual_seed(0)
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        layer = ChannelGroupNorm(16, gain=0.3, sigma=0.7).double().to(device)
        x = torch.randn(2, 16, 3, 2, dtype=torch.float64, device=device)
        expected = torch.empty_like(x)
        for b, c, i, j in np.ndindex(*x.shape):
            first = c // layer.size * layer.size
            squares = [x[b, k, i, j].item() ** 2 for k in range(first, first + layer.size)]
            expected[b, c, i, j] = math.exp(0.3) * squares[c - first] / (sum(squares) + 0.49)
        torch.testing.assert_close(layer(x.requires_grad_()), expected)
        for channels, side in SHAPES:
            x = torch.randn(BATCH, channels, side, side, device=device).requires_grad_()
            dy = torch.randn_like(x)
            ours, plain = ChannelGroupNorm(channels).to(device), Plain(channels).to(device)
            for mine, its in zip(gradients(ours, x, dy), gradients(plain, x, dy), strict=True):
                largest = its.abs().max().item()  # of a sum of many, or of a difference
                torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5 * largest)


def gradients(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], dy)]


if __name__ == "__main__":
    main()
