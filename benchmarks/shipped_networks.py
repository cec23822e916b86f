"""Train, measure and ship the super-resolution networks: ``make weights``.

Each of the four networks is trained from several seeds, each by one call of ``ephys train
superres`` with one thread, as many at a time as there are cores. What is finished is not trained
again, so the script can be stopped and started. Then every network is measured, and of each kind
the one with the median PSNR on the whole test photographs is put into ``models/weights`` with a
model card. The numbers of all seeds go to ``benchmarks/results``.
"""

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from ephys.analysis import by_layer
from ephys.data_folders import split_folder
from ephys.models.checkpoint import load_checkpoint, read_header, save_checkpoint
from ephys.models.datasets import photographs
from ephys.models.sources import SHIPPED
from ephys.models.superres import SuperResolution
from ephys.models.training import evaluate
from ephys.recording import record
from ephys.stimuli.protocols import contrast_invariance
from ephys.tables import labeled, population_table

ROOT = Path(__file__).parent.parent
RESULTS, WEIGHTS = ROOT / "benchmarks" / "results", ROOT / "models" / "weights"
STEPS = 3000
OPTIONS = {
    "superres-divnormei": "--normalization divnormei --excitation-from normalized",
    "superres-divnormei-eq3": "--normalization divnormei --excitation-from drive",
    "superres-divnorm": "--normalization divnorm",
    "superres-gabor": "--normalization none",
}
# The size of the training crops, and one that holds the whole receptive field of a central unit
# (69 pixels), so that no border of the image is in it.
SIZES_PX = (48, 72)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="BSDS500 folder")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for seed in arguments.seeds for name in OPTIONS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: train(job[0], job[1], arguments.data, arguments.out), jobs))

    RESULTS.mkdir(exist_ok=True)
    test = photographs(split_folder(arguments.data, "test"))
    quality = pd.DataFrame(
        [
            {"network": name, "seed": seed} | score(checkpoint(arguments.out, name, seed), test)
            for name, seed in jobs
        ]
    )
    quality.to_csv(RESULTS / "superres_quality.csv", index=False, float_format="%.4f")
    tuning = pd.concat([tuning_of(*job, checkpoint(arguments.out, *job)) for job in jobs])
    tuning.to_csv(RESULTS / "superres_contrast.csv", index=False, float_format="%.4g")
    for name in OPTIONS:
        ship(name, quality[quality["network"] == name], tuning, arguments.out)


def checkpoint(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-seed{seed}.safetensors"


def train(name: str, seed: int, data: Path, out: Path) -> None:
    path = checkpoint(out, name, seed)
    if path.exists():
        return
    command = [sys.executable, "-m", "ephys", *command_line(name, seed, data, path).split()[1:]]
    if path.with_name(path.name + ".training").exists():
        command.append("--resume")
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def command_line(name: str, seed: int, data: Path | str, out: Path | str) -> str:
    return (
        f"ephys train superres {OPTIONS[name]} --steps {STEPS} --seed {seed} --device cpu "
        f"--data {data} -o {out}"
    )


def score(path: Path, test: list) -> dict[str, float]:
    """PSNR and SSIM on the test photographs; computed anew where the checkpoint lacks a part."""
    notes = read_header(path)
    if "psnr_network_in_tiles" not in notes["evaluation"]:
        model = load_checkpoint(path)
        assert isinstance(model, SuperResolution)
        notes["evaluation"] = evaluate(model, test)
        save_checkpoint(path, model, notes)
    return {k: v for k, v in notes["evaluation"].items() if k != "photographs"}


def tuning_of(name: str, seed: int, path: Path) -> pd.DataFrame:
    """The population's tuning at every contrast, at both image sizes.

    The Gabor bank is the same in all networks and is measured once.
    """
    model = load_checkpoint(path)
    assert isinstance(model, SuperResolution)
    bank_wanted = name == "superres-gabor" and seed == 0
    tables = []
    for size in SIZES_PX:
        shown = model.input_format.resized(size)
        responses = record(model, contrast_invariance(), model.default_layers, input_format=shown)
        for layer, part in by_layer(responses):
            if layer == "encoder.gabor_bank" and not bank_wanted:
                continue
            where = {"network": name, "seed": seed, "size_px": size, "layer": layer}
            tables.append(labeled(where, population_table(part, seed=0)))
    return pd.concat(tables) if tables else pd.DataFrame()


def ship(name: str, quality: pd.DataFrame, tuning: pd.DataFrame, out: Path) -> None:
    """Copy the seed of median PSNR into the package, and write its card."""
    ordered = quality.sort_values("psnr_network")
    chosen = int(ordered["seed"].iloc[len(ordered) // 2])
    shutil.copyfile(checkpoint(out, name, chosen), WEIGHTS / f"{name}.safetensors")
    notes = read_header(WEIGHTS / f"{name}.safetensors")
    card = CARD.format(
        name=name,
        what=SHIPPED[name][0].upper() + SHIPPED[name][1:],
        command=command_line(name, chosen, "BSDS500", f"{name}.safetensors"),
        chosen=chosen,
        training=", ".join(f"{key} {value}" for key, value in notes["training"].items()),
        settings=", ".join(f"{key} {value}" for key, value in settings_of(notes).items()),
        quality=quality_table(quality),
        tuning=tuning_table(tuning[tuning["network"] == name]),
    )
    (WEIGHTS / f"{name}.md").write_text(card)


def settings_of(notes: dict) -> dict[str, str | int]:
    """The settings that mean something for this network."""
    settings = dict(notes["settings"])
    used = {"none": 1, "divnorm": 3, "divnormei": len(settings)}[settings["normalization"]]
    order = ["normalization", "divisive_size", "projected", *settings]
    return {key: settings[key] for key in list(dict.fromkeys(order))[:used]}


def quality_table(quality: pd.DataFrame) -> str:
    lines = ["| seed | PSNR (dB) | SSIM | PSNR in tiles | SSIM in tiles |", "|---|---|---|---|---|"]
    for row in quality.to_dict("records"):
        columns = ["network", "network_in_tiles"]
        cells = [f"{row[f'psnr_{c}']:.2f} | {row[f'ssim_{c}']:.3f}" for c in columns]
        lines.append(f"| {row['seed']} | {' | '.join(cells)} |")
    first = quality.iloc[0]
    for other in ("bicubic", "bilinear"):
        cell = f"{first[f'psnr_{other}']:.2f} | {first[f'ssim_{other}']:.3f}"
        lines.append(f"| {other} | {cell} | {cell} |")
    return "\n".join(lines)


def tuning_table(tuning: pd.DataFrame) -> str:
    """Per seed, mean selectivity over units of the raw response at each contrast."""
    rows = tuning[
        (tuning["size_px"] == SIZES_PX[0])
        & (tuning["layer"] == tuning["layer"].iloc[-1])
        & (tuning["baseline"] == "raw")
        & tuning["contrast"].notna()
        & (tuning["measure"] == "selectivity")
    ]
    contrasts = sorted(rows["contrast"].unique())
    lines = [
        "| seed | " + " | ".join(f"{contrast:.0%}" for contrast in contrasts) + " |",
        "|---" * (len(contrasts) + 1) + "|",
    ]
    for seed, part in rows.groupby("seed"):
        cells = [f"{value:.2f}" for value in part.sort_values("contrast")["mean"]]
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    return "\n".join(lines)


CARD = """# {name}

{what}.

A super-resolution encoder-decoder after Veerabadran, Raina & de Sa (2021), trained self-supervised
on photographs; what it is for is to be probed.

**Input** luminance in [0, 1], one channel, 48 x 48 pixels or any larger size, 15 pixels per degree,
a photograph reduced to a quarter and brought back to size (bilinear, no antialiasing).

**Made by** `{command}`, one thread; all networks and this card by `make weights`.
Of the three seeds below it is seed {chosen}, the one with the median PSNR on whole photographs.

**Settings** {settings}.

**Training** {training}.

**Data** BSDS500, 200 training photographs, luminance, random 48-pixel crops, turned and mirrored at
random. The photographs are offered for non-commercial research and education; nothing of them is in
this file but the weights. Cite Arbelaez, Maire, Fowlkes & Malik (2011), IEEE TPAMI 33:898.

## Quality

The 200 test photographs of BSDS500, from the same pixels as interpolation has. Whole, and in the
48-pixel tiles that the network was trained on:

{quality}

## Orientation selectivity

Mean gOSI over the 64 units after normalization (of the Gabor bank where there is none), raw
response, full-field gratings, at each contrast:

{tuning}
"""


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
