"""The report shows the numbers of the tables, on one page that needs nothing else."""

import base64
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ephys.measures import population_measures, protocol_measures
from ephys.reference import distributions
from ephys.report import (
    HEADLINES,
    SLOPES,
    answer,
    difference_summary,
    flags_of,
    read_scores,
    shown,
    summary,
    write_report,
)
from ephys.responses import create_store
from ephys.stimuli.protocols import BATTERIES
from ephys.stimuli.protocols import protocol as named
from ephys.visual_field import VisualField

LAYERS = ("encoder.gabor_bank", "encoder.normalization")
BASELINES = ("raw", "above blank")
RANGES = ("all", "paper")
CONTRASTS = (0.02, 0.1, 0.9)
PICTURE = b"\x89PNG\r\n\x1a\n not really"
VOID = {"meta", "img", "br", "hr", "link", "input"}


def row(measure: str, value: float, contrast: float = np.nan) -> dict[str, Any]:
    """A row of population.csv: mean, median and their intervals, all told from ``value``."""
    return {
        "protocol": "contrast_invariance",
        "layer": LAYERS[0],
        "baseline": "raw",
        "contrasts": "all",
        "measure": measure,
        "units": "1",
        "contrast": contrast,
        "count": 60,
        "mean": value + 0.5,
        "mean_low": value + 0.25,
        "mean_high": value + 0.75,
        "median": value,
        "median_low": value - 0.25,
        "median_high": value + 0.25,
    }


def population(layers: tuple[str, ...] = LAYERS) -> pd.DataFrame:
    """Every number its own: 10 more for each layer, baseline and range, 1 for each measure."""
    rows = []
    for place, (layer, baseline, contrasts) in enumerate(
        itertools.product(layers, BASELINES, RANGES)
    ):
        where = {"layer": layer, "baseline": baseline, "contrasts": contrasts}
        rows += [row(measure, 10 * place + number) | where for number, measure in enumerate(SLOPES)]
        if contrasts == "all":
            rows += [
                row(measure, 10 * place + contrast, contrast) | where | {"count": 50 + number}
                for number, contrast in enumerate(CONTRASTS)
                for measure in ("width", "selectivity", "amplitude")
            ]
    return pd.DataFrame(rows)


def only(measure: str, **columns: Any) -> pd.DataFrame:
    """The table of one layer, in which the other slopes are 0."""
    table = pd.DataFrame(
        [row(name, 0.0) for name in SLOPES] + [row("width", 1.0, c) for c in CONTRASTS]
    )
    table.loc[table["measure"] == measure, list(columns)] = list(columns.values())
    return table


class Page(HTMLParser):
    """What a browser makes of a page: elements, their attributes, the text of tables."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def table(self, first_head: str) -> list[list[list[str]]]:
        return [table for table in self.tables if table[0][0] == first_head]


# Of stimuli that are not about contrast: where a unit answers most, of two parts.
HUE = ("answering", "above_blank", "below_blank", "best_check_size", "best_part: L", "best_part: S")


def overview(layers: tuple[str, ...] = LAYERS) -> pd.DataFrame:
    """Every number its own: 10 more for each layer, 1 for each measure; shares are 25 times less.

    The mean is 0.5 above the median, as in every row.
    """
    rows = []
    for place, layer in enumerate(layers):
        for number, measure in enumerate(HUE):
            one = row(measure, 10 * place + number) | {"layer": layer, "protocol": "hue"}
            if measure == "answering" or ":" in measure:
                for name in ("mean", "mean_low", "mean_high"):
                    one[name] = one[name] / 25
            rows.append(one)
    return pd.DataFrame(rows)


def write_run(
    run: Path,
    table: pd.DataFrame,
    *,
    model: str = "superres-divnormei",
    command: str = "ephys",
    notes: xr.Dataset | None = None,
    scores: pd.DataFrame | None = None,
) -> Page:
    """The report of a run that holds these numbers."""
    (run / "figures").mkdir(parents=True)
    protocols = list(dict.fromkeys(table["protocol"]))
    about = {"model": model, "protocols": protocols, "seed": 0, "command": command}
    (run / "run.json").write_text(json.dumps(about))
    table.to_csv(run / "population.csv", index=False)
    units = {"layer": np.full(3, LAYERS[0]), "channel": np.arange(3)}
    responses = xr.Dataset(
        {"blank": ("unit", np.zeros(3, np.float32))},
        {
            "contrast": ("stimulus", np.linspace(0.1, 0.9, 17)),
            **{name: ("unit", values) for name, values in units.items()},
        },
        {"model": model, "command": command, "model_sha256": "12ab" * 16, "note": ""},
    )
    if scores is not None:
        scores.to_csv(run / "macaque_v1.csv", index=False)
    if notes is not None:
        responses = responses.merge(notes).assign_attrs(notes.attrs)
    (run / "responses.zarr").mkdir()
    for protocol in protocols:
        about = {"purpose": f"What about {protocol}?", "citation": "Hubel & Wiesel (1962)"}
        told = responses.assign_attrs(about, protocol=protocol, stimuli_sha256=f"of {protocol}")
        create_store(run / "responses.zarr" / protocol, told, chunk=17)
        (run / "figures" / f"{protocol}.png").write_bytes(PICTURE)
    write_report(run, json.loads((run / "run.json").read_text()))
    return Page((run / "report.html").read_text(encoding="utf-8"))


# Numbers.


@pytest.mark.parametrize(
    ("low", "middle", "high", "shown"),
    [
        (1.1, 1.2, 1.3, "1.20 [1.10, 1.30]"),
        (-1.004, -0.5, 0.006, "-0.50 [-1.00, 0.01]"),
        (-0.004, -0.001, 0.0, "0.00 [0.00, 0.00]"),  # and no minus before a zero
        (12345.678, 23456.789, 34567.891, "23,456.79 [12,345.68, 34,567.89]"),
    ],
)
def test_a_number_comes_with_its_interval(
    low: float, middle: float, high: float, shown: str
) -> None:
    table = only("width_slope", median_low=low, median=middle, median_high=high)
    assert f" {shown} " in summary(table) + " "
    (sentence,) = answer(table)
    assert f" {shown} degrees" in sentence


def test_a_measure_that_no_unit_has_is_a_dash() -> None:
    nothing = dict.fromkeys(("median", "median_low", "median_high"), np.nan)
    table = only("width_slope", count=0, **nothing)
    assert " – degrees" in answer(table)[0]
    assert " – " in summary(table)
    assert "nan" not in summary(table)


def test_a_layer_that_low_contrast_leaves_silent_has_no_growth() -> None:
    nothing = dict.fromkeys(("median", "median_low", "median_high"), np.nan)
    (sentence,) = answer(only("amplitude_ratio", count=0, **nothing))
    assert "nan" not in sentence


def test_the_answer_names_each_layer_its_contrasts_and_what_they_change() -> None:
    first, second = answer(population())
    assert first.startswith("encoder.gabor_bank: from 2% to 90% contrast the peak grows 3-fold")
    assert "half-width changes by 1.00 [0.75, 1.25] degrees" in first
    assert "selectivity by 0.00 [-0.25, 0.25]" in first
    assert second.startswith("encoder.normalization: from 2% to 90% contrast")
    assert "grows 43-fold" in second
    assert "half-width changes by 41.00 [40.75, 41.25] degrees" in second


def test_the_summary_has_a_line_per_layer_with_the_medians_of_the_raw_response() -> None:
    title, heads, units, first, second = summary(population()).splitlines()
    assert title.startswith("contrast_invariance: medians over units [95 % interval]")
    assert re.split(" {2,}", heads.strip()) == [
        *("layer", "gOSI", "half-width", "amplitude", "separability")
    ]
    assert re.split(" {2,}", units.strip()) == ["per doubling", "degrees per doubling", "exponent"]
    shown = re.findall(r"\S+ \[.*?\]", first)
    assert [cell.split()[0] for cell in shown] == ["0.00", "1.00", "2.00", "4.00"]
    assert shown[1] == "1.00 [0.75, 1.25]"
    assert second.split()[:4] == ["encoder.normalization", "40.00", "[39.75,", "40.25]"]


def test_the_columns_of_the_summary_stand_apart() -> None:
    wide = {"median_low": -120.25, "median": -110.5, "median_high": -101.75}
    *_, line = summary(only("width_slope", **wide)).splitlines()
    layer, *cells = re.split(r"(?<=[\]a-z])\s+", line.strip())
    assert layer == LAYERS[0]
    zero = "0.00 [-0.25, 0.25]"
    assert cells == [zero, "-110.50 [-120.25, -101.75]", zero, zero]


def test_each_protocol_has_its_own_summary() -> None:
    second = population().assign(protocol="contrast_invariance_patches")
    lines = summary(pd.concat([population(), second])).splitlines()
    assert [line.split(":")[0] for line in lines if ":" in line] == [
        "contrast_invariance",
        "contrast_invariance_patches",
    ]
    assert len(lines) == 2 * 5


# The page.


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return write_run(tmp_path_factory.mktemp("report") / "run", population())


def test_the_page_says_what_was_probed(page: Page) -> None:
    assert page.texts["h1"] == ["superres-divnormei"]
    assert "superres-divnormei" in page.texts["title"][0]
    opening = " ".join(page.texts["p"][0].split())
    assert opening == "3 units were shown the stimuli of these protocols:"
    assert page.texts["a"] == ["contrast_invariance"]
    assert page.texts["li"][0].strip() == ": What about contrast_invariance?"
    assert page.texts["small"] == ["17 stimuli"]


def test_each_section_says_what_it_asks_and_after_whom(page: Page) -> None:
    paragraphs = [" ".join(text.split()) for text in page.texts["p"]]
    assert paragraphs[1].startswith("Answering: moved from the response to the blank at all.")
    assert paragraphs[2:4] == [
        "What about contrast_invariance?",
        "17 stimuli. After Hubel & Wiesel (1962)",
    ]


def test_the_page_gives_the_answer_of_the_numbers(page: Page) -> None:
    assert page.texts["li"][1:3] == answer(population())


def test_there_is_one_row_of_medians_for_each_layer_baseline_and_range(page: Page) -> None:
    (table,) = page.table("response")
    heads, *rows = table
    assert heads == ["response", "contrasts", *(label for label, _ in SLOPES.values())]
    assert [rows.pop(0), rows.pop(4)] == [[layer] for layer in LAYERS]
    keys = list(itertools.product(BASELINES, RANGES))
    assert [tuple(row[:2]) for row in rows] == 2 * keys
    for place, cells in enumerate(rows):
        expected = [
            f"{v:.2f} [{v - 0.25:.2f}, {v + 0.25:.2f}]"
            for v in 10.0 * place + np.arange(len(SLOPES))
        ]
        assert cells[2:] == expected


def test_there_is_one_row_of_means_for_each_layer_and_contrast(page: Page) -> None:
    tables = page.table("contrast")
    assert len(tables) == len(LAYERS)
    for place, (_, *rows) in zip((0, 4), tables, strict=True):
        assert [cells[0] for cells in rows] == ["2 %", "10 %", "90 %"]
        for number, (cells, contrast) in enumerate(zip(rows, CONTRASTS, strict=True)):
            mean = 10 * place + contrast + 0.5
            assert cells[1] == f"{mean:.2f} [{mean - 0.25:.2f}, {mean + 0.25:.2f}]"
            assert cells[2] == f"{mean:.1f} [{mean - 0.25:.1f}, {mean + 0.25:.1f}]"
            assert cells[3] == str(50 + number)


def test_a_low_contrast_and_a_small_response_are_told_in_their_digits(tmp_path: Path) -> None:
    table = population(LAYERS[:1])
    lowest = table["contrast"] == CONTRASTS[0]
    table.loc[lowest, "contrast"] = 0.005
    small = {"mean": 0.00123, "mean_low": 0.001, "mean_high": 0.0015}
    table.loc[lowest & (table["measure"] == "amplitude"), list(small)] = list(small.values())
    ((_, first, *_),) = write_run(tmp_path / "run", table).table("contrast")
    assert (first[0], first[-1]) == ("0.5 %", "0.00123 [0.001, 0.0015]")
    assert "from 0.5% to 90% contrast" in answer(table)[0]


def test_the_page_holds_its_picture_and_asks_for_nothing_else(page: Page) -> None:
    links = [
        (tag, value)
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster", "background")
    ]
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    (_, target), (tag, picture) = links
    assert target == "#contrast_invariance"
    assert ids == {"contrast_invariance"}
    assert tag == "img"
    assert picture is not None
    kind, _, content = picture.partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(content) == PICTURE
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import", " ".join(page.texts["style"]))


def test_the_picture_is_described_in_words(page: Page) -> None:
    (attributes,) = [attributes for tag, attributes in page.elements if tag == "img"]
    assert "tuning" in (attributes["alt"] or "")


def test_the_provenance_is_told_and_what_is_empty_is_not(page: Page) -> None:
    told = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert told["model sha256"] == "12ab" * 16
    assert told["command"] == "ephys"
    assert "note" not in told


def test_a_malicious_name_is_only_text(tmp_path: Path) -> None:
    name = (
        "<script>alert('x')</script><img src=http://127.0.0.1/x onerror=\"alert(1)\"> &amp; {{ 1 }}"
    )
    page = write_run(tmp_path / "run", population(), model=name, command=name)
    assert page.texts["h1"] == [name]
    assert page.texts["title"][0].startswith(name)
    assert dict(zip(page.texts["dt"], page.texts["dd"], strict=True))["command"] == name
    assert [tag for tag, _ in page.elements].count("img") == 1
    assert "script" not in {tag for tag, _ in page.elements}


def test_a_dash_stands_for_what_no_unit_has(tmp_path: Path) -> None:
    table = population()
    numbers = [
        f"{statistic}{end}" for statistic in ("mean", "median") for end in ("", "_low", "_high")
    ]
    undefined = table["measure"].isin(["width", "width_slope"])
    table.loc[undefined, numbers] = np.nan
    table.loc[undefined, "count"] = 0
    page = write_run(tmp_path / "run", table)
    (heads, *rows), *by_contrast = page.table("response") + page.table("contrast")
    place = heads.index("half-width (degrees per doubling)")
    assert {cells[place] for cells in rows if len(cells) > 1} == {"–"}
    for _, *contrasts in by_contrast:
        assert {tuple(cells[2:4]) for cells in contrasts} == {("–", "0")}
    assert "nan" not in json.dumps(page.tables)


def test_each_protocol_has_its_section_and_is_counted(tmp_path: Path) -> None:
    second = population().assign(protocol="contrast_invariance_patches")
    page = write_run(tmp_path / "run", pd.concat([population(), second]))
    names = ["contrast_invariance", "contrast_invariance_patches"]
    assert page.texts["h2"][:2] == names
    assert page.texts["a"] == names
    assert len(page.table("response")) == 2
    assert [tag for tag, _ in page.elements].count("img") == 2


def test_what_all_protocols_have_alike_is_told_once_and_what_differs_for_each(
    tmp_path: Path,
) -> None:
    page = write_run(tmp_path / "run", pd.concat([population(), overview()]))
    assert page.texts["dt"] == ["model", "command", "model sha256", "stimuli sha256"]
    assert page.texts["dd"][2:] == [
        "12ab" * 16,
        "contrast_invariance: of contrast_invariance",
        "hue: of hue",
    ]


# Stimuli that are not about contrast.


def test_of_other_stimuli_each_layer_has_its_medians_and_shares(tmp_path: Path) -> None:
    page = write_run(tmp_path / "run", overview())
    measures, parts = page.table("layer")
    assert measures == [
        ["layer", "units", "answering", "above blank", "below blank", "best check size"],
        [
            LAYERS[0],
            "60",
            "2% [1%, 3%]",
            *(f"{v} [{v - 0.25:.3g}, {v}.25]" for v in (1, 2, 3)),
        ],
        [
            *(LAYERS[1], "60", "42% [41%, 43%]"),
            *(f"{v} [{v - 0.25:.3g}, {v + 0.25:.3g}]" for v in (11, 12, 13)),
        ],
    ]
    assert parts == [
        ["layer", "L", "S"],
        [LAYERS[0], "18% [17%, 19%]", "22% [21%, 23%]"],
        [LAYERS[1], "58% [57%, 59%]", "62% [61%, 63%]"],
    ]
    assert page.texts["h2"][0] == "hue"
    assert "contrast" not in " ".join(page.texts["p"] + page.texts["li"])


def test_each_measure_of_units_has_its_units_and_the_response_it_is_of(tmp_path: Path) -> None:
    hue = {"protocol": "hue"}
    table = pd.concat(
        [
            overview(LAYERS[:1]),
            pd.DataFrame(
                [
                    row("unit: half_width", 20.0) | hue | {"units": "degree"},
                    row("unit: low_cut", 1.0)
                    | {**hue, "units": "cycles degree-1", "baseline": "above blank"},
                    row("unit: band: low-pass", 0.0) | hue,
                    row("unit: von_mises_at_bound", 0.0) | hue,  # of the fit, not the unit
                    row("unit: von_mises_r_squared", 0.0) | hue,
                    row("unit: responsive", 0.0) | hue | {"count": 0},  # that no unit has
                    row("stimulus: population_sparseness", 0.0) | hue | {"count": 17},
                ]
            ),
        ]
    )
    page = write_run(tmp_path / "run", table)
    ((heads, *rows),) = page.table("measure")
    assert heads == ["measure", "units", "of the response", LAYERS[0]]
    assert rows == [
        ["half-width", "degrees", "raw", "20 [19.8, 20.2] (60)"],
        ["low cut", "cycles/degree", "above blank", "1 [0.75, 1.25] (60)"],
        ["band: low-pass", "", "raw", "50% [25%, 75%] (60)"],
        ["stimulus: population sparseness", "", "raw", "0.5 [0.25, 0.75] (17)"],
    ]


def test_what_a_best_value_is_in_is_told(tmp_path: Path) -> None:
    table = overview()
    table.loc[table["measure"] == "best_check_size", "units"] = "degree"
    page = write_run(tmp_path / "run", table)
    assert page.table("layer")[0][0][-1] == "best check size (degrees)"
    assert "best check size (degrees): its value at the largest response" in page.texts["li"]


def test_the_best_contrast_is_in_percent_wherever_it_is_shown(tmp_path: Path) -> None:
    table = overview().astype(dict.fromkeys(("median", "median_low", "median_high"), float))
    best = table["measure"] == "best_check_size"
    table.loc[best, "measure"] = "best_mask_contrast"
    table.loc[best, ["median", "median_low", "median_high"]] = [0.5, 0.07, 0.55]
    numbers = {"value_a": 0.5, "value_b": 0.07, "difference": 0.43, "low": 0.2, "high": 0.48}
    other = difference("best_mask_contrast", 0.01, protocol="hue", **numbers)
    page = page_with(tmp_path / "run", other, table=table)
    heads, first, _ = page.table("layer")[0]
    assert (heads[-1], first[-1]) == ("best mask contrast (%)", "50 [7, 55]")
    ((_, cells),) = page.table("measure")
    assert cells[:4] == ["best mask contrast (%)", "50 (60)", "7 (64)", "43 [20, 48]"]
    _, heads_line, units, line, _ = summary(table).splitlines()
    assert units.strip() == "%"
    assert units.index("%") + 1 == heads_line.index("mask contrast") + len("mask contrast")
    assert line.split()[3] == "50"


def test_without_parts_there_is_no_table_of_them(tmp_path: Path) -> None:
    table = overview()
    page = write_run(tmp_path / "run", table[~table["measure"].str.contains(":")])
    assert len(page.table("layer")) == 1


def test_the_summary_of_other_stimuli_is_a_line_per_layer_within_100_columns() -> None:
    title, heads, first, second = summary(overview()).splitlines()
    assert title.startswith("hue: ")
    assert re.split(r"\s{2,}", heads.strip()) == [
        *("layer", "units", "answering", "check size", "best part")
    ]
    assert re.split(r"\s{2,}", first.strip()) == [LAYERS[0], "60", "2%", "3", "S (22%)"]
    assert re.split(r"\s{2,}", second.strip()) == [LAYERS[1], "60", "42%", "13", "S (62%)"]
    assert max(map(len, (title, heads, first, second))) <= 100


def test_the_summary_of_tuned_units_has_its_headlines_with_their_units_and_no_best_stimulus() -> (
    None
):
    hue = {"protocol": "hue"}
    measured = [
        row("unit: half_width", 20.25) | hue | {"units": "degree"},
        row("unit: gosi", 5e-6) | hue,  # rounding of 0
        row("unit: color_class: color-preferring", 0.42) | hue,
        row("unit: orthogonal_ratio", 0.5) | hue,  # no headline
        row("unit: dsi", np.nan) | hue | {"count": 0},  # that no unit has
    ]
    table = pd.concat([overview(LAYERS[:1]), pd.DataFrame(measured)])
    _, heads, units, line = summary(table).splitlines()
    assert re.split(" {2,}", heads.strip()) == [
        *("layer", "units", "answering", "half-width", "gOSI", "prefer color")
    ]
    assert units.strip() == "degrees"
    assert units.index("degrees") + len("degrees") == heads.index("half-width") + len("half-width")
    assert line.split() == [LAYERS[0], "60", "2%", "20.2", "0", "92%"]


def test_of_what_is_1_or_minus_1_there_is_no_median(tmp_path: Path) -> None:
    table = overview()
    table.loc[table["measure"] == "best_check_size", "measure"] = "best_polarity"
    assert "polarity" not in summary(table)
    page = write_run(tmp_path / "run", table)
    assert "polarity" not in json.dumps([page.tables, page.texts])


def test_every_headline_is_a_measure_of_what_can_be_shown() -> None:
    field = VisualField(48, 48, 15.0)
    shown = [named(name, field).stimuli.table for name in (*BATTERIES["v1"].members, "opponency")]
    shown.append(xr.Dataset({"family": ("stimulus", ["photograph"] * 2)}))
    found: set[str] = set()
    for table in shown:
        silent = {
            "response": (("stimulus", "unit"), np.zeros((table.sizes["stimulus"], 1))),
            **{name: ("unit", np.zeros(1)) for name in ("blank", "rf_x", "rf_y")},
        }
        stimuli = {str(name): table[name].variable for name in table.variables}
        responses = xr.Dataset(silent, stimuli, {"pixels_per_degree": 15.0})
        found |= set(population_measures(protocol_measures(responses)))
    assert set(HEADLINES) <= found


def test_the_summary_has_a_dash_where_no_unit_answers() -> None:
    table = overview()
    best = table["measure"].str.startswith("best_")
    table.loc[best, ["mean", "median"]] = np.nan
    table.loc[best, "count"] = 0
    *_, line = summary(table).splitlines()
    assert line.split()[-2:] == ["–", "–"]
    assert "nan" not in summary(table)


def test_protocols_of_both_kinds_share_a_page_and_a_summary(tmp_path: Path) -> None:
    table = pd.concat([population(), overview()])
    page = write_run(tmp_path / "run", table)
    assert page.texts["h2"] == ["contrast_invariance", "hue", "Provenance"]
    assert [line.split(":")[0] for line in summary(table).splitlines() if ":" in line] == [
        *("contrast_invariance", "hue")
    ]


# Beside the animal.


def beside() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Medians and scores of two layers, every number its own; the second has no surround."""
    medians, scores = [], []
    for place, layer in enumerate(LAYERS):
        for number, (name, cells) in enumerate(distributions().items()):
            where = {"protocol": "marques", "layer": layer}
            value = 0.01 * (20 * place + number)
            nothing = place == 1 and name == "surround_diameter"
            medians.append(row(name, 10 * place + number) | where | {"count": 0 if nothing else 9})
            scores.append(
                where
                | {"property": name, "neurons": cells.attrs["neurons"]}
                | {"units": 50 + number, "defined": 0 if nothing else 40 + number}
                | {"similarity": value, "ceiling": 0.9, "score": 0.0 if nothing else value + 0.1}
                | {"low": np.nan if nothing else value, "high": np.nan if nothing else value + 0.2}
            )
    return pd.DataFrame(medians), pd.DataFrame(scores)


def test_each_layer_has_its_properties_beside_those_of_the_animal(tmp_path: Path) -> None:
    medians, scores = beside()
    page = write_run(tmp_path / "run", pd.concat([medians, population()]), scores=scores)
    assert page.texts["h2"] == ["marques", "contrast_invariance", "Provenance"]
    tables = page.table("property")
    assert len(tables) == 2
    for place, (heads, *rows) in enumerate(tables):
        assert len(rows) == 15
        first = dict(zip(heads, rows[0], strict=True))
        assert first["property"] == "circular variance"
        low, high = ("0.00", "0.20") if place == 0 else ("0.20", "0.40")
        assert first["score"] == f"{0.2 * place + 0.1:.2f} [{low}, {high}]"
        assert first["similarity"] == f"{0.2 * place:.2f}"
        assert first["units"] == "40 of 50"
        assert first["median"] == ("0 [-0.25, 0.25]" if place == 0 else "10 [9.75, 10.2]")
        assert first["cells"] == "304"
        # Of the 304 cells in the published histogram 136 are below 0.538 and 158 below 0.615.
        assert first["median in"] == "0.538 to 0.615"
        assert first["study"] == "[1]"
    last = dict(zip(tables[1][0], tables[1][-1], strict=True))
    assert (last["score"], last["median"], last["units"]) == ("0.00", "–", "0 of 64")
    cited = [text for text in page.texts["li"] if "Journal" in text or "Vision" in text]
    assert len(cited) == 5
    assert cited[0].startswith("Ringach DL")
    means = [text for text in page.texts["caption"] if "mean of the scores" in text]
    assert [text.split()[-1] for text in means] == [
        f"{part['score'].mean():.2f}" for _, part in scores.groupby("layer", sort=False)
    ]


def test_the_summary_beside_the_animal_has_a_line_per_property(tmp_path: Path) -> None:
    medians, scores = beside()
    table = pd.concat([population(), medians])
    lines = summary(table, scores).splitlines()
    assert lines[: len(summary(population()).splitlines())] == summary(population()).splitlines()
    title, heads, *rows, mean = lines[-18:]
    assert title.startswith("marques: score beside macaque V1")
    assert heads.split() == list(LAYERS)
    assert [line.split()[0] for line in rows] == list(distributions())
    assert rows[1].split()[1:] == ["0.11", "[0.01,", "0.21]", "0.31", "[0.21,", "0.41]"]
    assert rows[-1].split()[-1] == "0.00"  # and no interval
    means = scores.groupby("layer", sort=False)["score"].mean()
    assert mean.split()[-2:] == [f"{value:.2f}" for value in means]
    assert len({len(line) for line in [heads, *rows, mean]}) == 1


def test_of_a_property_that_is_yes_or_no_the_share_of_the_units_is_told(tmp_path: Path) -> None:
    medians, scores = beside()
    share = {"mean": 0.75, "mean_low": 0.5, "mean_high": 1.0}
    medians.loc[medians["measure"] == "or_selective", list(share)] = list(share.values())
    page = write_run(tmp_path / "run", medians, scores=scores)
    labels = [cells.attrs["long_name"] for cells in distributions().values()]
    place = list(distributions()).index("or_selective")
    heads, *rows = page.table("property")[0]
    told = dict(zip(heads, rows[place], strict=True))
    assert told["property"] == labels[place]
    assert told["median"] == "75% [50%, 100%]"
    assert told["median in"].endswith("% yes")


def test_a_run_without_the_animal_has_no_scores(tmp_path: Path) -> None:
    write_run(tmp_path / "run", population())
    assert read_scores(tmp_path / "run").empty


# Of a fit.


def test_a_parameter_has_the_flags_of_the_fit_of_the_longest_name() -> None:
    columns = ["gabor_sd", "gabor_converged", "gabor_at_bound", "gabor_r_squared"]
    columns += ["gabor_pair_sd", "gabor_pair_extrapolated", "unconverged"]
    for names in (columns, columns[::-1]):
        assert flags_of("gabor_sd", names) == {"gabor_converged": 1, "gabor_at_bound": 0}
        assert flags_of("gabor_pair_sd", names) == {"gabor_pair_extrapolated": 0}
        assert flags_of("gabor_pair_at_bound", names) == {}
        assert flags_of("gabor_r_squared", names) == {}
        assert flags_of("un_osi", names) == flags_of("gabors", names) == {}


# What was shown.


def measured() -> xr.Dataset:
    """Of 17 stimuli the frequency is off by 1 %, the phase by 0.5 degrees; nobody has a width."""
    nothing = np.full(17, np.nan)
    frequency = np.linspace(1, 5, 17)
    asked = {
        "spatial_frequency": frequency,
        "phase": np.append(np.full(16, 90.0), np.nan),
        "width": nothing,
        "average": nothing,
        "contrast": np.full(17, 1e-17),
    }
    found = {
        "spatial_frequency": frequency * np.append(1.01, np.ones(16)),
        "phase": asked["phase"] - 0.5,
        "width": nothing,
        "average": np.ones(17),
        "contrast": nothing,
    }
    return xr.Dataset(
        {
            name: (("stimulus", "quantity"), np.stack(list(table.values()), axis=1))
            for name, table in (("asked", asked), ("measured", found))
        },
        {
            "quantity": list(asked),
            "units": ("quantity", ["cycles degree-1", "degree", "degree", "1", "1"]),
            "relative": ("quantity", [True, False, False, False, False]),
        },
    )


def test_what_was_measured_of_the_stimuli_is_told_beside_what_was_asked(tmp_path: Path) -> None:
    page = write_run(tmp_path / "run", overview(), notes=measured())
    ((heads, *rows),) = page.table("quantity")
    assert heads == ["quantity", "units", "stimuli", "asked", "largest deviation"]
    assert rows == [
        ["spatial frequency", "cycles/degree", "17", "1 to 5", "0.01 of it"],
        ["phase", "degrees", "16", "90", "0.5"],
        ["contrast", "", "0", "0", "–"],
    ]


def test_without_measurements_nothing_is_said_of_them(page: Page) -> None:
    assert page.table("quantity") == []
    assert shown(measured().drop_vars("measured")) == []


def test_measurements_need_no_units() -> None:
    phase = shown(measured().drop_vars(["units", "relative"]).sel(quantity=["phase"]))
    assert [(one["units"], one["deviation"]) for one in phase] == [("", 0.5)]


@pytest.mark.parametrize("layers", [("0.1", "0.10"), ("1", "01"), ("NA", "null")])
def test_layers_keep_their_names_whatever_a_table_reader_takes_them_for(
    tmp_path: Path, layers: tuple[str, ...]
) -> None:
    page = write_run(tmp_path / "run", population(layers))
    (table,) = page.table("response")
    assert [cells[0] for cells in table if len(cells) == 1] == list(layers)


# Between layers.


def difference(measure: str, p: float, **columns: Any) -> dict[str, Any]:
    """A row of differences.csv."""
    return {
        **{"protocol": "contrast_invariance", "measure": measure, "statistic": "median"},
        **{"layer_a": LAYERS[1], "layer_b": LAYERS[0], "count_a": 60, "count_b": 64},
        **{"value_a": 0.75, "value_b": 0.5, "difference": 0.25, "low": 0.125, "high": 0.375},
        **{"effect_size": 0.5, "p": p / 3, "p_corrected": p, "permutations": 99_980},
        **columns,
    }


def page_with(run: Path, *differences: dict[str, Any], table: pd.DataFrame | None = None) -> Page:
    run.mkdir()
    pd.DataFrame(differences).to_csv(run / "differences.csv", index=False)
    return write_run(run, population() if table is None else table)


def test_the_page_shows_the_differences_that_are_hardly_chance_the_surest_first(
    tmp_path: Path,
) -> None:
    undefined = dict.fromkeys(("value_a", "difference", "low", "high", "effect_size"), np.nan)
    page = page_with(
        tmp_path / "run",
        difference("half_width", 0.05),
        difference("osi", 0.051),
        difference("f1_f0", 0.00002, effect_size=-0.25),
        difference("gosi", 0.00001, value_a=-0.75, count_a=12, difference=-1.25, effect_size=-1.0),
        difference("dsi", np.nan, **undefined),
        difference("answers", 0.001, protocol="hue"),
        difference("von_mises_r_squared", 0.00001),  # of the fit, not the unit
        difference("von_mises_at_bound", 0.00001),
    )
    (table,) = page.table("measure")
    interval = "[0.125, 0.375]"
    assert table == [
        ["measure", LAYERS[1], LAYERS[0], "difference", "delta", "p"],
        ["gOSI", "-0.75 (12)", "0.5 (64)", f"-1.25 {interval}", "-1.00", "<0.0001"],
        ["F1/F0", "0.75 (60)", "0.5 (64)", f"0.25 {interval}", "-0.25", "<0.0001"],
        ["half-width", "0.75 (60)", "0.5 (64)", f"0.25 {interval}", "0.50", "0.05"],
    ]
    (text,) = [text for text in page.texts["p"] if "What differs" in text]
    assert "for all 7 tests of this run" in text  # the eighth was not made
    assert "3 of 4" in text


def test_a_difference_of_shares_is_in_percent_and_what_is_rounding_is_0(tmp_path: Path) -> None:
    numbers = {"value_a": 5e-6, "value_b": 1523.4, "difference": 4e-10, "low": -1.3e-8}
    small = {"value_a": 6e-6, "value_b": 1e-6, "difference": 5e-6, "low": 1e-6, "high": 6e-6}
    beside = {"value_a": 1e-7, "value_b": 3e-7, "difference": -2e-7, "low": -1e-7, "high": 5.0}
    page = page_with(
        tmp_path / "run",
        difference("cell_class: simple", 0.01, statistic="share"),
        difference("preferred_shift", 0.02, **numbers),
        difference("amplitude", 0.03, **small),
        difference("gain", 0.04, **beside),
    )
    ((_, *rows),) = page.table("measure")
    assert rows[0][1:4] == ["75% (60)", "50% (64)", "25% [12%, 38%]"]
    assert rows[1][1:4] == ["0 (60)", "1,520 (64)", "0 [0, 0.375]"]
    # Responses may all be small, and are rounding only beside larger ones.
    assert rows[2][1:4] == ["6e-06 (60)", "1e-06 (64)", "5e-06 [1e-06, 6e-06]"]
    # The largest of its row is that for every cell.
    assert rows[3][1:4] == ["0 (60)", "0 (64)", "0 [0, 5]"]


def test_p_is_a_bound_where_no_permutation_was_like_the_units(tmp_path: Path) -> None:
    page = page_with(
        tmp_path / "run",
        difference("osi", 0.02) | {"p": float(f"{1 / 99981:.9g}")},  # as in the file
        difference("gosi", 0.03) | {"p": float(f"{3 / 99981:.9g}")},
    )
    ((_, *rows),) = page.table("measure")
    assert [cells[-1] for cells in rows] == ["≤0.02", "0.03"]
    (text,) = [text for text in page.texts["p"] if "What differs" in text]
    assert "tests of this run; ≤ is before the least that so many permutations can tell." in text


def test_a_p_that_permutations_could_undercut_is_no_bound_and_bounds_are_only_explained_if_shown(
    tmp_path: Path,
) -> None:
    rows = [
        difference("osi", 0.02, permutations=9999) | {"p": 4 / 10_000},  # 1 / p is whole too
        difference("gosi", 0.00005, permutations=9999) | {"p": 1 / 10_000},  # <0.0001
        difference("von_mises_at_bound", 0.03, permutations=9999) | {"p": 1 / 10_000},  # not shown
    ]
    alone = page_with(tmp_path / "alone", rows[0])
    assert alone.table("measure")[0][1][-1] == "0.02"
    page = page_with(tmp_path / "run", *rows)
    ((_, *cells),) = page.table("measure")
    assert [row[-1] for row in cells] == ["<0.0001", "0.02"]
    assert "≤" not in " ".join(page.texts["p"])
    assert "≤" not in difference_summary(pd.DataFrame(rows))
    told = difference_summary(pd.DataFrame(rows), everything=True)
    assert re.findall("≤.*", told) == [
        *("≤0.03", "≤ is before the least p that so many permutations can tell.")
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((1523.4, "1,520"), (99960.0, "100,000"), (152340.0, "1.52e+05"), (12.345, "12.3")),
        *((0.00123, "0.00123"), (-2.0, "-2"), (-0.0, "0")),
    ],
)
def test_three_digits_are_without_an_exponent(tmp_path: Path, value: float, shown: str) -> None:
    page = page_with(tmp_path / "run", difference("osi", 0.02, value_a=value))
    ((_, cells),) = page.table("measure")
    assert cells[1] == f"{shown} (60)"


@pytest.mark.parametrize(
    ("model", "title"),
    [
        ("vgg16 with weights /data/of me/vgg16.pth", "vgg16 with weights vgg16.pth"),
        ("/data/mine.pt as vgg16", "mine.pt as vgg16"),
        ("timm:hf_hub/net", "timm:hf_hub/net"),
    ],
)
def test_the_title_has_no_path_and_the_provenance_has(
    tmp_path: Path, model: str, title: str
) -> None:
    page = write_run(tmp_path / "run", population(), model=model)
    assert page.texts["h1"] == [title]
    assert page.texts["title"] == [f"{title} on the rig"]
    assert dict(zip(page.texts["dt"], page.texts["dd"], strict=True))["model"] == model


def test_the_provenance_is_in_words(tmp_path: Path) -> None:
    shape = json.dumps({"height_px": 48, "mean": [0.5, 0.25]})
    how = {"input_format": shape, "centered": 0, "compiled": "True", "batches": "[256]"}
    page = write_run(tmp_path / "run", population(), notes=xr.Dataset(attrs=how))
    told = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert told["input format"] == "height px 48, mean 0.5 0.25"
    assert (told["centered"], told["compiled"]) == ("no", "yes")
    assert "batches" not in told


def test_every_pair_of_layers_has_a_table_of_its_own(tmp_path: Path) -> None:
    other = difference("osi", 0.01, layer_a="decoder", layer_b=LAYERS[1])
    page = page_with(tmp_path / "run", difference("osi", 0.02), other)
    heads = [table[0][1:3] for table in page.table("measure")]
    assert heads == [[LAYERS[1], LAYERS[0]], ["decoder", LAYERS[1]]]


def test_where_nothing_differs_the_page_says_so_and_of_one_layer_nothing(tmp_path: Path) -> None:
    page = page_with(tmp_path / "two", difference("osi", 0.06), difference("gosi", 1.0))
    assert page.table("measure") == []
    (sentence,) = [text for text in page.texts["p"] if "Between layers" in text]
    assert "none of 2 measures differs by more than chance could make it" in sentence
    alone = write_run(tmp_path / "one", population(LAYERS[:1]))
    assert not any("Between layers" in text for text in alone.texts["p"])
