"""The figures show planted units, and a run is analyzed from its responses alone."""

import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ephys.analysis import analyze, contrast_figure, example_stimuli, plot
from ephys.responses import create_store
from ephys.stimuli import grating
from ephys.tables import unit_table
from ephys.visual_field import VisualField

CONTRASTS = np.array([0.02, 0.1, 0.5, 0.9])
ORIENTATIONS = np.arange(12) * 15.0
FREQUENCIES = np.array([1.0, 2.0])
PHASES = np.arange(4) * 90.0
FIELD = VisualField(96, 64, 15.0)
# What units prefer, and how much they answer: the last is silent.
PREFERRED = np.array([0.0, 45.0, 90.0, 165.0, 60.0])
FREQUENCY = np.array([1.0, 2.0, 2.0, 1.0, 2.0])
GAIN = np.array([1.0, 4.0, 2.0, 3.0, 0.0])
COUNT = len(PREFERRED)


def responses(layers: tuple[str, ...] = ("encoder.gabor_bank",)) -> xr.Dataset:
    """What ``record`` would have written of the units, in each layer the same."""
    rows = np.array(list(itertools.product(CONTRASTS, FREQUENCIES, PHASES, ORIENTATIONS)))
    contrast, frequency, phase, orientation = rows.T[..., None]  # (stimulus, 1) each
    tuning = np.exp(3 * (np.cos(2 * np.deg2rad(orientation - PREFERRED)) - 1))
    best = np.where(frequency == FREQUENCY, 1.0, 0.4)
    response = GAIN * contrast * tuning * best * (1 + np.cos(np.deg2rad(phase - 30)))
    names = ("contrast", "spatial_frequency", "phase", "orientation")
    columns = dict(zip(names, rows.T, strict=True)) | {"mean_luminance": np.full(len(rows), 0.5)}
    total = COUNT * len(layers)
    units = {
        "layer": np.repeat(layers, COUNT),
        "channel": np.tile(np.arange(COUNT), len(layers)),
        **{name: np.zeros(total) for name in ("row", "column", "rf_x", "rf_y")},
    }
    shape = {"channels": 1, "height_px": FIELD.height_px, "width_px": FIELD.width_px}
    return xr.Dataset(
        {
            "response": (("stimulus", "unit"), np.tile(response, len(layers))),
            "blank": ("unit", np.zeros(total)),
        },
        {
            "family": ("stimulus", np.full(len(rows), "grating")),
            **{name: ("stimulus", column) for name, column in columns.items()},
            **{name: ("unit", values) for name, values in units.items()},
        },
        {"input_format": json.dumps(shape), "pixels_per_degree": FIELD.pixels_per_degree},
    )


def shown_as(recorded: xr.Dataset, **columns: Any) -> xr.Dataset:
    """The same responses to other stimuli."""
    count = recorded.sizes["stimulus"]
    new = {name: ("stimulus", np.broadcast_to(values, count)) for name, values in columns.items()}
    return recorded.assign_coords(new)


def noted(recorded: xr.Dataset) -> xr.Dataset:
    """Stimuli of two parts, so that they are not about contrast."""
    return shown_as(recorded, part=np.where(recorded["spatial_frequency"] == 1, "one", "two"))


def write_run(run: Path, *sets: xr.Dataset, finished: bool = True) -> Path:
    protocols = ["contrast_invariance", "another"][: len(sets)]
    for protocol, recorded in zip(protocols, sets, strict=True):
        store = run / "responses.zarr" / protocol
        store.parent.mkdir(parents=True, exist_ok=True)
        array = create_store(store, recorded.drop_vars("response"), chunk=100)
        array[:] = recorded["response"].values.astype(np.float32)
    about = {"model": "planted with weights a vgg.pth", "protocols": protocols, "seed": 3}
    if finished:
        (run / "run.json").write_text(json.dumps(about))
    return run


# The stimuli of the figure.


def test_one_stimulus_is_shown_per_contrast_in_ascending_order() -> None:
    recorded = responses()
    shuffled = np.random.default_rng(0).permutation(recorded.sizes["stimulus"])
    images = example_stimuli(recorded.isel(stimulus=shuffled))
    assert images.shape == (len(CONTRASTS), FIELD.height_px, FIELD.width_px)
    brightest, darkest = images.max((1, 2)), images.min((1, 2))
    michelson = (brightest - darkest) / (brightest + darkest)
    np.testing.assert_allclose(michelson, CONTRASTS, rtol=0.01)


def test_the_shown_stimuli_differ_in_contrast_alone_and_are_oblique() -> None:
    images = example_stimuli(responses()) - 0.5
    for image, contrast in zip(images, CONTRASTS, strict=True):
        np.testing.assert_allclose(image / contrast, images[-1] / CONTRASTS[-1], atol=2e-5)
    modulation = grating(FIELD, spatial_frequency=1, orientation=45, contrast=0.9)[0]
    np.testing.assert_allclose(images[-1], 0.5 * modulation, atol=1e-6)


# Figures and files.


def titles(figure: Any) -> list[str]:
    return [title for ax in figure.axes if (title := ax.get_title(loc="left"))]


def test_a_gabor_bank_before_and_after_normalization_makes_figure_2() -> None:
    recorded = responses(("encoder.gabor_bank", "encoder.normalization"))
    other = ("vgg16 features.3", responses(("features.3",)))
    letters = "".join(title[0] for title in titles(contrast_figure(recorded, other)))
    plt.close("all")
    assert letters == "ABCDE"


def test_other_networks_have_a_column_per_layer() -> None:
    figure = contrast_figure(responses(("features.1", "features.3")))
    plt.close("all")
    assert titles(figure)[:2] == ["features.1 (n = 5)", "features.3 (n = 5)"]


def test_an_analysis_is_made_anew_from_the_responses_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", responses(("encoder.gabor_bank", "layer.2")))
    analyze(run)
    assert plt.get_fignums() == []
    assert sorted(path.name for path in (run / "figures").iterdir()) == [
        "contrast_invariance.png",
        "contrast_invariance.svg",
    ]
    units, population = (pd.read_csv(run / f"{name}.csv") for name in ("units", "population"))
    assert units.groupby("layer", sort=False).size().to_dict() == {
        "encoder.gabor_bank": COUNT,
        "layer.2": COUNT,
    }
    expected = unit_table(responses())
    for name in ("width", "selectivity_slope", "amplitude_above_blank"):
        np.testing.assert_allclose(units[name][:COUNT], expected[name], rtol=1e-5, atol=1e-6)
    first = {path.name: path.read_bytes() for path in run.glob("*.*") if path.is_file()}
    (run / "units.csv").unlink()
    analyze(run)
    assert {path.name: path.read_bytes() for path in run.glob("*.*") if path.is_file()} == first
    assert set(population["layer"]) == {"encoder.gabor_bank", "layer.2"}


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    unfinished = write_run(tmp_path / "unfinished", responses(), finished=False)
    for run in (unfinished, tmp_path / "nothing"):
        with pytest.raises(
            FileNotFoundError, match="is not a finished run: there is no"
        ) as refused:
            analyze(run)
        assert str(run) in str(refused.value)
    assert not (unfinished / "figures").exists()


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_picture_is_drawn_into_the_file_that_was_asked_for(tmp_path: Path, suffix: str) -> None:
    run = write_run(tmp_path / "run", responses())
    picture = tmp_path / f"figure.{suffix}"
    plot(run, picture)
    assert plt.get_fignums() == []
    assert picture.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[suffix])
    assert sorted(path.name for path in run.iterdir()) == ["responses.zarr", "run.json"]


def test_another_run_is_panel_b_called_by_its_model_and_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", responses())
    elsewhere = write_run(tmp_path / "elsewhere", responses(("features.1", "features.3")))
    shown: list[str] = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda figure, *_, **__: shown.extend(titles(figure))
    )
    plot(run, tmp_path / "b.png", elsewhere=elsewhere)
    plot(run, tmp_path / "b.png", elsewhere=elsewhere, layer="features.1")
    panels = [title for title in shown if title.startswith("B")]
    assert panels == ["B  planted features.3 (n = 5)", "B  planted features.1 (n = 5)"]


def test_a_picture_that_cannot_be_drawn_is_refused_and_not_begun(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", responses())
    picture = tmp_path / "figure.png"
    with pytest.raises(KeyError, match=r"has no layer 'conv9'; there are encoder\.gabor_bank"):
        plot(run, picture, elsewhere=run, layer="conv9")
    with pytest.raises(KeyError, match=r"no protocol .*patches.* there are contrast_invariance"):
        plot(run, picture, protocol="contrast_invariance_patches")
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"protocols": ["size", "hue"]}))
    with pytest.raises(KeyError, match="has several protocols; pass --protocol with size or hue"):
        plot(run, picture)
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(FileNotFoundError, match=r"is not a (finished )?run"):
        plot(run, picture, elsewhere=tmp_path)
    with pytest.raises(ValueError, match="'abc' is not supported"):
        plot(run, tmp_path / "figure.abc")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert plt.get_fignums() == []


def test_a_run_that_was_interrupted_is_not_drawn(tmp_path: Path) -> None:
    recorded = responses()
    recorded["response"][100:] = np.nan
    run = write_run(tmp_path / "run", recorded, finished=False)
    with pytest.raises(FileNotFoundError, match="is not a finished run"):
        plot(run, tmp_path / "figure.png")


def test_another_network_for_which_there_is_no_panel_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", responses(("features.1",)))
    with pytest.raises(ValueError, match=r"encoder\.gabor_bank"):
        plot(run, tmp_path / "figure.png", elsewhere=run)


# Protocols that are not about contrast.


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a protocol of either kind, analyzed."""
    folder = tmp_path_factory.mktemp("runs") / "mixed"
    run = write_run(folder, responses(("a", "b")), noted(responses(("a", "b"))))
    analyze(run)
    return run


def test_protocols_of_either_kind_share_their_tables(mixed: Path) -> None:
    assert sorted(path.stem for path in (mixed / "figures").glob("*.png")) == [
        "another",
        "contrast_invariance",
    ]
    units, population = (pd.read_csv(mixed / f"{name}.csv") for name in ("units", "population"))
    assert units.groupby(["protocol", "layer"], sort=False).size().tolist() == [COUNT] * 4
    one, other = (units[units["protocol"] == name] for name in ("contrast_invariance", "another"))
    assert one["width"].notna().any()
    assert one["best_part"].isna().all()
    assert other["best_part"].tolist()[:COUNT] == ["one", "two", "two", "one", np.nan]
    assert other["width"].isna().all()
    assert set(population.loc[population["protocol"] == "another", "layer"]) == {"a", "b"}
    page = (mixed / "report.html").read_text()
    assert page.count("data:image/png") == 2


def test_the_columns_are_described_once_for_each_protocol_that_has_them(mixed: Path) -> None:
    units = pd.read_csv(mixed / "units.csv")
    columns = pd.read_csv(mixed / "units_columns.csv")
    for protocol, own in columns.groupby("protocol"):
        described = units.loc[units["protocol"] == protocol, own["column"]]
        others = units.columns.difference(own["column"].tolist())
        assert own["column"].is_unique
        assert units.loc[described.index, others].isna().all(axis=None)
    about = columns.set_index(["protocol", "column"])
    assert about.loc[("another", "best_orientation"), "period"] == 180
    assert ("contrast_invariance", "best_orientation") not in about.index
    assert about.loc[("contrast_invariance", "width"), "units"] == "degree"


def test_numbers_in_the_tables_have_nine_digits(mixed: Path) -> None:
    columns = pd.read_csv(mixed / "units.csv", dtype=str)[["width", "max", "selectivity_slope"]]
    digits = columns.stack().str.lower().str.partition("e")[0].str.replace(r"[-.]", "", regex=True)
    assert digits.str.lstrip("0").str.len().max() == 9


def test_a_figure_of_other_stimuli_has_a_row_for_each_part(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda figure, *_, **__: shown.extend(titles(figure))
    )
    plot(mixed, tmp_path / "figure.png", protocol="another")
    assert shown == ["one", "two", "a few of the stimuli"]


def test_there_is_no_panel_for_another_network_beside_other_stimuli(
    mixed: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="the figure of another has no panel for another network"):
        plot(mixed, tmp_path / "figure.png", protocol="another", elsewhere=mixed)


def test_without_its_photographs_a_run_is_analyzed_all_the_same(tmp_path: Path) -> None:
    recorded = responses(("a",)).isel(stimulus=slice(0, 8))
    files = [f"gone/{name}.jpg" for name in "abcdefgh"]
    nothing = dict.fromkeys(["contrast", "spatial_frequency", "phase", "orientation"], np.nan)
    photographs = shown_as(recorded, family="photograph", file=files, **nothing)
    run = write_run(tmp_path / "run", photographs)
    analyze(run)
    assert (run / "figures" / "contrast_invariance.png").is_file()
    assert pd.read_csv(run / "units.csv")["best_file"][0] in files
