"""Who groups with whom where channels compete: train, measure and ship (``make competition``).

*Modeling Divisive Normalization as Learned Local Competition in Visual Cortex* (OpenReview
OovfCS4FYT, 2024) says that competition within groups of channels makes the oriented and the
color-opponent cells of a first layer sort themselves into these groups. Here two-layer networks are
trained on the JPEG copy of CIFAR-10, with that competition (without ReLU, the authors' best, and
with it, their Eq. 2), with group norm over the same groups, and with batch norm alone; from filters
drawn independently and from filters drawn alike within groups; from several seeds. Each is one call
of ``ephys train classify`` with one thread, as many at a time as there are cores. What is finished
is not trained again, so the script can be stopped and started.

Then the filters of the first convolution are read after every epoch, and it is asked for each of
their properties whether units are more alike, or less, within groups of 8 than by chance; and the
same of what is recorded from the last networks, of independent components of photographs, which
nothing groups, and of CaffeNet's two halves. Writes ``results/competition_*.csv``; of the six
conditions to be shipped the seed of median accuracy goes into ``models/weights`` with a model card.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from safetensors.numpy import load_file
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))
from independent_components import photograph_components

from ephys import groups, similarity
from ephys.data_folders import data_folder, split_folder
from ephys.filters import filter_properties
from ephys.grouping import grouping_test
from ephys.measures import protocol_measures
from ephys.models.checkpoint import load_checkpoint, read_header
from ephys.models.input_format import own_format
from ephys.models.sources import SHIPPED
from ephys.models.twolayer import within_group_correlation
from ephys.recording import record
from ephys.stimuli.protocols import protocol
from ephys.tables import labeled

ROOT = Path(__file__).parent.parent
RESULTS, WEIGHTS = ROOT / "benchmarks" / "results", ROOT / "models" / "weights"
GROUPS_OF = 8
EPOCHS = 6
NORMALIZATIONS = {
    "competition": "--normalization competition --no-relu",
    "competition-relu": "--normalization competition --relu",
    "group": "--normalization group --relu",
    "batch": "--normalization batch --relu",
}
STARTS = {
    "independent": "--initialization kaiming",
    "alike": "--initialization kaiming_gaussian",
}
CONDITIONS = {
    f"{normalization}-{start}": f"{options} {draw}"
    for normalization, options in NORMALIZATIONS.items()
    for start, draw in STARTS.items()
}
ACCURACY, GROUPING, RECORDED = (
    RESULTS / f"competition_{name}.csv" for name in ("accuracy", "grouping", "recorded")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="default: $EPHYS_DATA/cifar10_jpeg")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "competition")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    data = arguments.data or data_folder("cifar10_jpeg")
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(condition, seed) for seed in arguments.seeds for condition in CONDITIONS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: train(job[0], job[1], data, arguments.out), jobs))

    RESULTS.mkdir(exist_ok=True)
    accuracy = pd.DataFrame(
        [
            named(condition, seed) | evaluation(checkpoint(arguments.out, condition, seed))
            for condition, seed in jobs
        ]
    )
    accuracy.to_csv(ACCURACY, index=False, float_format="%.4f")
    found = [through_training(*job, arguments.out) for job in jobs]
    grouping = pd.concat([*found, components(arguments.seeds), caffenet()])
    grouping.to_csv(GROUPING, index=False, float_format="%.5g")
    recorded = pd.concat([recorded_grouping(*job, arguments.out) for job in jobs])
    recorded.to_csv(RECORDED, index=False, float_format="%.5g")
    for condition in CONDITIONS:
        if f"twolayer-{condition}" in SHIPPED:
            ship(condition, accuracy, grouping, arguments.out)
    print(summary(grouping).to_string())


def checkpoint(out: Path, condition: str, seed: int) -> Path:
    return out / f"{condition}-seed{seed}.safetensors"


def evaluation(path: Path) -> dict[str, float]:
    found: dict[str, float] = read_header(path)["evaluation"]
    return found


def train(condition: str, seed: int, data: Path, out: Path) -> None:
    path = checkpoint(out, condition, seed)
    if path.exists():
        return
    program, *options = command_line(condition, seed, data, path).split()
    command = [sys.executable, "-m", program, *options]
    if path.with_name(path.name + ".training").exists():
        command.append("--resume")
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def command_line(condition: str, seed: int, data: Path | str, out: Path | str) -> str:
    return (
        f"ephys train classify {CONDITIONS[condition]} --epochs {EPOCHS} --seed {seed} "
        f"--keep-epochs --device cpu --data {data} -o {out}"
    )


def named(condition: str, seed: int) -> dict[str, Any]:
    normalization, start = condition.rsplit("-", 1)
    return {"normalization": normalization, "start": start, "seed": seed}


def through_training(condition: str, seed: int, out: Path) -> pd.DataFrame:
    """How the filters group after every epoch, 0 for before the first."""
    tables = []
    for path in sorted(checkpoint(out, condition, seed).with_suffix(".epochs").iterdir()):
        header = read_header(path)
        # The network sees images divided by their s.d., so that its weights are per s.d.
        per_value = np.array(header["settings"]["std"])[:, None, None]
        filters = load_file(path)["conv1.weight"] / per_value
        where = named(condition, seed) | {"epoch": header["epoch"]}
        tables.append(tested(where, filter_similarities(filters), len(filters), GROUPS_OF))
    return pd.concat(tables)


def filter_similarities(filters: np.ndarray) -> dict[str, xr.DataArray]:
    """Of every property that is read from filters (unit, channel, y, x)."""
    found = filter_properties(filters, pixels_per_degree=1)
    cones = np.stack([found[f"cone_{cone}"] for cone in "lms"], axis=1)
    chromatic = found["chromatic_energy"]
    return {
        "filter": similarity.cosine(filters.reshape(len(filters), -1), axes=True),
        "orientation": similarity.circular(
            found["orientation"], period=180, weight=found["orientation_selectivity"]
        ),
        "hue axis": similarity.circular(found["hue_axis"], period=180, weight=chromatic),
        "cone weights": similarity.cosine(cones, axes=True),
        "chromatic energy": similarity.scalar(chromatic),
    }


def recorded_grouping(condition: str, seed: int, out: Path) -> pd.DataFrame:
    """How the units group by what they answer to stimuli, where answers are rates, 0 or more."""
    model = load_checkpoint(checkpoint(out, condition, seed))
    field = own_format(model).field
    layer = "norm1.0" if condition.startswith("competition") else "relu1"
    gratings, hues = (
        record(model, protocol(name, field).stimuli, [layer]) for name in ("orientation", "hue")
    )
    tilt = protocol_measures(gratings)
    answers = {"gratings": gratings["response"], "hues": hues["response"]}
    properties = {
        f"responses to {name}": similarity.cosine(
            response.transpose("unit", "stimulus"), centered=True
        )
        for name, response in answers.items()
    } | {
        "preferred orientation": similarity.circular(
            tilt["preferred_orientation"], period=180, weight=tilt["gosi"]
        )
    }
    where = named(condition, seed) | {"epoch": EPOCHS}
    return tested(where, properties, tilt.sizes["unit"], GROUPS_OF)


def components(seeds: list[int]) -> pd.DataFrame:
    """Independent components of photographs, in groups by their index: no group means anything."""
    folder = split_folder(data_folder("bsds500"), "train")
    tables = []
    for seed in seeds:
        filters = photograph_components(folder, seed=seed)
        where = {"normalization": "ica", "start": "independent", "seed": seed, "epoch": 0}
        tables.append(tested(where, filter_similarities(filters), len(filters), GROUPS_OF))
    return pd.concat(tables)


def caffenet() -> pd.DataFrame:
    """The first layer of AlexNet as Caffe has it, whose two halves only later layers kept apart."""
    filters = load_file(data_folder("alexnet_imagenet") / "caffenet_conv_head.safetensors")
    where = {"normalization": "caffenet", "start": "independent", "seed": 0, "epoch": 0}
    weights = filters["conv1.weight"]
    return tested(where, filter_similarities(weights), len(weights), len(weights) // 2)


def tested(
    where: dict[str, Any], properties: dict[str, xr.DataArray], units: int, size: int
) -> pd.DataFrame:
    found = grouping_test(properties, groups.contiguous(units, size))
    table = found.to_dataframe().reset_index()
    return labeled(where, table)


def summary(grouping: pd.DataFrame, statistic: str = "difference") -> pd.DataFrame:
    """Over seeds, at the last epoch: how far the statistic is from chance, with the 95 % interval
    of the mean over seeds (Student's t); its effect size in all seeds together, in standard
    deviations of the permutations; and p of all seeds together (Stouffer, from each seed's p)."""
    rows = grouping[grouping["statistic"] == statistic]
    keys = ["property", "normalization", "start"]
    last = rows[rows["epoch"] == rows.groupby(keys[1:])["epoch"].transform("max")]
    parts = dict(list(last.groupby(keys, sort=False)))
    index = pd.MultiIndex.from_tuples(parts, names=keys)
    return pd.DataFrame([_over_seeds(part) for part in parts.values()], index=index)


def _over_seeds(rows: pd.DataFrame) -> dict[str, float]:
    rows = rows.dropna(subset=["observed", "expected", "effect_size"])  # where units do not differ
    if rows.empty:
        return dict.fromkeys(("excess", "low", "high", "z", "p"), np.nan) | {"seeds": 0}
    excess = (rows["observed"] - rows["expected"]).to_numpy()
    count = len(excess)
    mean = excess.mean()
    half = np.nan
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * excess.std(ddof=1) / np.sqrt(count)
    signed = np.sign(rows["effect_size"]) * stats.norm.isf(rows["p"] / 2)
    return {
        "excess": mean,
        "low": mean - half,
        "high": mean + half,
        "z": rows["effect_size"].sum() / np.sqrt(count),
        "p": 2 * stats.norm.sf(abs(signed.sum()) / np.sqrt(count)),
        "seeds": count,
    }


def ship(condition: str, accuracy: pd.DataFrame, grouping: pd.DataFrame, out: Path) -> None:
    """Copy the seed of median accuracy into the package, and write its card."""
    normalization, start = condition.rsplit("-", 1)
    own = (accuracy["normalization"] == normalization) & (accuracy["start"] == start)
    ordered = accuracy[own].sort_values("test_accuracy")
    chosen = int(ordered["seed"].iloc[len(ordered) // 2])
    name = f"twolayer-{condition}"
    shutil.copyfile(checkpoint(out, condition, chosen), WEIGHTS / f"{name}.safetensors")
    notes = read_header(WEIGHTS / f"{name}.safetensors")
    values = accuracy[own]["test_accuracy"].to_numpy()
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    settings = notes["settings"]
    fan_in = 3 * settings["kernel_px"] ** 2
    table = summary(grouping).reset_index()
    table = table[(table["normalization"] == normalization) & (table["start"] == start)]
    card = CARD.format(
        name=name,
        what=SHIPPED[name][0].upper() + SHIPPED[name][1:],
        command=command_line(condition, chosen, "DATA", f"{name}.safetensors"),
        chosen=chosen,
        seeds=len(values),
        source=notes["training"]["source"],
        settings=listed(settings),
        training=listed({k: v for k, v in notes["training"].items() if k != "classes"}),
        correlation=within_group_correlation(settings["initialization"], fan_in),
        mean=values.mean(),
        low=values.mean() - half,
        high=values.mean() + half,
        each=", ".join(f"{value:.1%}" for value in values),
        grouping="\n".join(
            f"| {row['property']} | {row['excess']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}) "
            f"| {row['z']:+.1f} |"
            for row in table.to_dict("records")
        ),
    )
    (WEIGHTS / f"{name}.md").write_text(card)


def listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


CARD = """# {name}

{what}.

A two-layer CNN that classifies small images, trained to ask what a normalization does to the
filters of a first layer (`notebooks/04_competition.ipynb`); what it is for is to be probed.

**Input** RGB in [0, 1], less a mean and divided by a standard deviation (in the settings), 32 x 32
pixels; the first layer also at any other size.

**Made by** `{command}`, one thread; all networks and this card by `make competition`.
Of {seeds} seeds it is seed {chosen}, the one with the median accuracy.

**Settings** {settings}.
At the start, two filters of a group of the first layer correlate by {correlation:.2f}.

**Training** {training}.

**Data** {source}.
Colors finer than two pixels are not to be trusted, in the images nor in the filters. CIFAR-10's
authors ask for a citation, and state no other terms: Krizhevsky (2009), Learning Multiple Layers of
Features from Tiny Images. Nothing of the images is in this file but the weights.

## Accuracy

On the 10,000 test images, which chose nothing but the seed: {mean:.1%} on average over seeds (95 %
interval {low:.1%} to {high:.1%}); each: {each}.

## Grouping

Are the filters of the first layer more alike (+) within the groups of 8 neighbors than between
groups? Mean similarity within less that between, less what chance expects; over seeds, with 95 %
interval; and z of all seeds together against shuffled groups:

| property | excess | z |
|---|---|---|
{grouping}
"""


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
