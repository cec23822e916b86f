"""Print the README's tables from ``benchmarks/results``: ``python benchmarks/readme_tables.py``.

Of the networks trained here, every cell is the mean over the three seeds, and in brackets the
lowest and the highest of them. The Gabor bank is fixed, so it has one value.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from competition_figure import NAMES, at_the_end, over_seeds

RESULTS = Path(__file__).parent / "results"
ROWS = {
    "before: Gabor bank": ("superres-gabor", "encoder.gabor_bank"),
    "`superres-divnormei`": ("superres-divnormei", "encoder.normalization"),
    "`superres-divnormei-eq3`": ("superres-divnormei-eq3", "encoder.normalization"),
    "`superres-divnorm`": ("superres-divnorm", "encoder.normalization"),
}
SLOPES = {
    "amplitude_slope": "amplitude exponent",
    "width_slope": "half-width (degrees)",
    "selectivity_slope": "gOSI",
    "separability": "separability",
}


def main() -> None:
    for baseline in ("raw", "above blank"):
        print(
            by_contrast("selectivity", baseline=baseline), slopes(baseline), sep="\n\n", end="\n\n"
        )
    print(quality(), stimuli(), recording(), macaque(), competition(), sep="\n\n")


def by_contrast(measure: str, *, baseline: str = "raw", size_px: int = 48) -> str:
    """Means over units at each contrast."""
    table = _contrast_table(baseline, size_px)
    table = table[(table["measure"] == measure) & table["contrast"].notna()]
    contrasts = sorted(table["contrast"].unique())
    lines = [_line(["", *(f"{contrast:.0%}" for contrast in contrasts)]), _rule(len(contrasts) + 1)]
    for label, (network, layer) in ROWS.items():
        part = table[(table["network"] == network) & (table["layer"] == layer)]
        cells = [_cell(part.loc[part["contrast"] == contrast, "mean"]) for contrast in contrasts]
        lines.append(_line([label, *cells]))
    return "\n".join(lines)


def slopes(baseline: str, *, size_px: int = 48) -> str:
    """Medians over units of what contrast does, all contrasts."""
    table = _contrast_table(baseline, size_px)
    table = table[table["contrasts"] == "all"]
    lines = [_line(["", *SLOPES.values()]), _rule(len(SLOPES) + 1)]
    for label, (network, layer) in ROWS.items():
        part = table[(table["network"] == network) & (table["layer"] == layer)]
        cells = [_cell(part.loc[part["measure"] == measure, "median"]) for measure in SLOPES]
        lines.append(_line([label, *cells]))
    return "\n".join(lines)


def stimuli() -> str:
    """Drawing, beside stimupy and a convolution."""
    table = pd.read_csv(RESULTS / "stimuli_time.csv")
    heads = ["", "ephys, per second", "stimupy, per second", "times faster", "share of conv1_1"]
    lines = [_line(heads), _rule(len(heads))]
    for row in table.to_dict("records"):
        speeds = [f"{row[f'{tool}_per_second']:,.0f}" for tool in ("ephys", "stimupy")]
        shares = [f"{row['times_stimupy']:.0f}", f"{row['of_conv1_1']:.1%}"]
        lines.append(_line([row["stimuli"], *speeds, *shares]))
    return "\n".join(lines)


def recording() -> str:
    """What ``make bench`` found recording to cost."""
    table = pd.read_csv(RESULTS / "recording_time.csv", comment="#")
    cells = [["", "recorded", "sees (px)", "stimuli", "CPU s per 1,000", "of bare", "x hooks"]]
    for row in table.to_dict("records"):
        several = len(row["layers"].split()) > 1
        cells.append(
            [
                f"`{row['model']}`",
                f"{row['tool'].replace('_', ' ')}: "
                + ("all five stages" if several else f"`{row['layers']}`"),
                str(row["receptive_field_px"]),
                f"{row['stimuli']:,}",
                f"{row['cpu_seconds_per_1000']:.3g}",
                f"{row['times_bare_forward']:.2f}",
                f"{row['faster_than_hooks']:.3g}",
            ]
        )
    header, *rows = map(_line, cells)
    return "\n".join([header, _rule(len(cells[0])), *rows])


def macaque() -> str:
    """Scores beside macaque V1, trained and, in brackets, untrained."""
    table = pd.read_csv(RESULTS / "macaque_v1.csv")
    layers = list(table[["network", "layer"]].drop_duplicates().itertuples(index=False, name=None))
    heads = ["", *(f"`{network}` `{layer}`" for network, layer in layers)]
    lines = [_line(heads), _rule(len(heads))]
    published = table[table["protocol"] == "marques2020"]
    rows = {f"`{name}`": part for name, part in published.groupby("property", sort=False)}
    rows |= {f"mean, `{name}`": part for name, part in table.groupby("protocol", sort=False)}
    for label, part in rows.items():
        means = part.groupby(["network", "layer", "trained"])["score"].mean()
        cells = []
        for network, layer in layers:
            trained, untrained = (_number(means[network, layer, which]) for which in (True, False))
            fixed = layer == "encoder.gabor_bank"
            cells.append(trained if fixed else f"{trained} ({untrained})")
        lines.append(_line([label, *cells]))
    return "\n".join(lines)


def competition() -> str:
    """Accuracy, and excess similarity within groups, with 95 % intervals over seeds.

    Bold is what is beyond chance, both of shuffled groups and over seeds.
    """
    accuracy = pd.read_csv(RESULTS / "competition_accuracy.csv")
    scores = over_seeds(accuracy.groupby(["normalization", "start"], sort=False)["test_accuracy"])
    grouping = at_the_end(pd.read_csv(RESULTS / "competition_grouping.csv")).to_dict("index")
    properties = ["filter", "orientation", "hue axis", "chromatic energy"]
    lines = [_line(["", "accuracy", *properties]), _rule(len(properties) + 2)]
    for condition, score in zip(scores.index.tolist(), scores.to_dict("records"), strict=True):
        normalization, start = condition
        mean, low, high = (f"{score[key]:.1%}" for key in ("mean", "low", "high"))
        cells = [f"{NAMES[normalization]}, {start}", f"{mean} ({low} to {high})"]
        for name in properties:
            row = grouping[name, normalization, start]
            mean, low, high = (_number(row[key]) for key in ("excess", "low", "high"))
            bold = "**" if row["within groups"] in ("alike", "unlike") else ""
            cells.append(f"{bold}{mean}{bold} ({low} to {high})")
        lines.append(_line(cells))
    return "\n".join(lines)


def quality() -> str:
    """PSNR and SSIM on the test photographs."""
    table = pd.read_csv(RESULTS / "superres_quality.csv")
    columns = ["psnr_network", "ssim_network", "psnr_network_in_tiles", "ssim_network_in_tiles"]
    heads = ["PSNR, whole", "SSIM, whole", "PSNR, in tiles", "SSIM, in tiles"]
    lines = [_line(["", *heads]), _rule(len(columns) + 1)]
    for network, part in table.groupby("network", sort=False):
        lines.append(_line([f"`{network}`", *(_cell(part[column]) for column in columns)]))
    for other in ("bicubic", "bilinear"):
        cells = [_cell(table[f"{measure}_{other}"].iloc[:1]) for measure in ("psnr", "ssim")]
        lines.append(_line([other, *cells, *cells]))
    return "\n".join(lines)


def _contrast_table(baseline: str, size_px: int) -> pd.DataFrame:
    table = pd.read_csv(RESULTS / "superres_contrast.csv")
    return table[(table["baseline"] == baseline) & (table["size_px"] == size_px)]


def _cell(seeds: pd.Series) -> str:
    mean, low, high = (_number(value) for value in (seeds.mean(), seeds.min(), seeds.max()))
    return mean if len(seeds) == 1 else f"{mean} ({low} to {high})"


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


if __name__ == "__main__":
    main()
