"""An experiment leaves a whole run, or one to be resumed, and never harms another folder."""

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from ephys import experiment
from ephys.analysis import analyze
from ephys.experiment import choose_readout, estimate, probe
from ephys.macaque_v1 import Estimators, score, unit_properties
from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import InputFormat
from ephys.recording import Near
from ephys.reference import distributions
from ephys.responses import open_store
from ephys.stimuli import StimulusSet, grating, protocols, sweep
from ephys.stimuli.protocols import (
    Battery,
    Protocol,
    contrast_invariance,
    contrast_invariance_patches,
)

BATCH = 8
SMALL: dict[str, Any] = {"contrasts": (0.1, 0.5, 0.9), "orientations": 8, "phases": 4}
PROTOCOLS = {
    "small": partial(contrast_invariance, spatial_frequencies=2, **SMALL),
    "patches": partial(contrast_invariance_patches, spatial_frequencies=2, **SMALL),
    "too_fine": partial(contrast_invariance, spatial_frequencies=8, **SMALL),
}
STIMULI = 3 * 8 * 4


class Cells(nn.Module):
    """A Gabor bank that counts the batches of stimuli it sees, and may stop the experiment."""

    def __init__(self, *, gain: float = 1, stop_after: int | None = None) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(float(gain)))
        self.bank = GaborBank(stride=16)
        self.input_format = InputFormat(channels=1, height_px=48, width_px=48, pixels_per_degree=15)
        self.default_layers = ("bank",)
        self.stop_after, self.batches = stop_after, 0

    def forward(self, images: Tensor) -> Tensor:
        if len(images) == BATCH:  # and not the few images that measure receptive fields
            if self.batches == self.stop_after:
                raise KeyboardInterrupt
            self.batches += 1
        return self.bank(self.gain * images)


@pytest.fixture(autouse=True, scope="module")
def small_protocols() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "PROTOCOLS", PROTOCOLS)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both protocols, not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "cells"
    return record_both(Cells(), out, source="cells of a bank", seed=5, command="ephys probe cells")


@pytest.fixture
def unanalyzed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the tables and figures, which take most of the time."""
    monkeypatch.setattr(experiment, "analyze", lambda run, about: None)


def record_both(model: nn.Module, out: Path, **options: Any) -> Path:
    return probe(model, ["small", "patches"], out=out, batch_size=BATCH, **options)


def record_one(model: nn.Module, out: Path, **options: Any) -> Path:
    return probe(model, ["small"], out=out, batch_size=BATCH, **options)


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by its path in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def responses(run: Path, protocol: str) -> xr.Dataset:
    with open_store(run / "responses.zarr" / protocol) as opened:
        return opened.load()


# What a run holds.


def test_a_run_holds_what_it_promises(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        "figures",
        "population.csv",
        "report.html",
        "responses.zarr",
        "run.json",
        "units.csv",
        "units_columns.csv",
    ]
    names = sorted(path.name for path in (run / "responses.zarr").iterdir())
    assert names == ["patches", "small"]
    pictures = {path.name for path in (run / "figures").iterdir()}
    assert {"small.png", "patches.png"} <= pictures
    assert json.loads((run / "run.json").read_text()) == {
        "model": "cells of a bank",
        "protocols": ["small", "patches"],
        "seed": 5,
        "command": "ephys probe cells",
    }


def test_every_stimulus_and_unit_is_recorded_with_its_provenance(run: Path) -> None:
    for protocol in ("small", "patches"):
        recorded = responses(run, protocol)
        assert recorded["response"].shape == (STIMULI, 64)
        assert np.isfinite(recorded["response"]).all()
        expected = {"model": "cells of a bank", "protocol": protocol}
        assert expected.items() <= recorded.attrs.items()
        assert recorded.attrs["command"] == "ephys probe cells"


def test_there_is_one_row_per_protocol_and_unit(run: Path) -> None:
    units = pd.read_csv(run / "units.csv")
    keys = list(units[["protocol", "layer", "channel"]].itertuples(index=False, name=None))
    assert keys == list(itertools.product(["small", "patches"], ["bank"], range(64)))


@pytest.mark.parametrize("protocol", ["small", "patches"])
def test_the_tables_tell_the_tuning_that_the_cells_were_built_with(
    run: Path, protocol: str
) -> None:
    units = pd.read_csv(run / "units.csv")
    units = units[units["protocol"] == protocol].set_index("channel")
    cells = GaborBank().cells
    # Filters of 2 cycles per 15 or 21 pixels are sharp enough for eight orientations to tell.
    np.testing.assert_array_equal(units["preferred_orientation"], cells["orientation"])
    odd = cells["phase"].isin([90, 270])  # no filter of these answers the mean luminance
    assert odd.sum() == 32
    np.testing.assert_allclose(units["amplitude_slope"][odd], 1, atol=1e-4)
    np.testing.assert_allclose(units["separability"][odd], 1, atol=1e-6)
    for name in ("width_slope", "selectivity_slope"):
        np.testing.assert_allclose(units[name][odd], 0, atol=2e-3)


def test_the_report_shows_the_numbers_of_the_population(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    population = pd.read_csv(run / "population.csv")
    assert set(population["protocol"]) == {"small", "patches"}
    shown = population[
        population["measure"].isin(["separability", "amplitude_slope", "width_slope"])
    ]
    assert len(shown) == 3 * 2 * 2 * 2  # measures, protocols, baselines, ranges
    for row in shown[["median", "median_low", "median_high"]].itertuples(index=False):
        median, low, high = (f"{value:.2f}" for value in np.round(row, 2) + 0.0)
        assert f"<td>{median} [{low}, {high}]</td>" in page
    assert "cells of a bank" in page


def test_no_figure_is_left_open(run: Path) -> None:
    assert plt.get_fignums() == []


@pytest.mark.usefixtures("unanalyzed")
def test_without_a_source_the_model_is_called_by_its_class(tmp_path: Path) -> None:
    out = probe(Cells(), ["small"], out=tmp_path / "run")
    assert json.loads((out / "run.json").read_text())["model"] == "Cells"


@pytest.mark.usefixtures("unanalyzed")
def test_the_layers_readout_and_format_that_were_asked_for_are_recorded(tmp_path: Path) -> None:
    model = nn.Sequential(GaborBank(stride=16), nn.Flatten(), nn.Linear(64 * 9, 3))
    shape = InputFormat(channels=1, height_px=40, width_px=40, pixels_per_degree=15)
    out = probe(
        model,
        ["small"],
        out=tmp_path / "run",
        layers=["0", "2"],
        readout="max",
        input_format=shape,
    )
    recorded = responses(out, "small")
    assert recorded["layer"].values.tolist() == ["0"] * 64 + ["2"] * 3
    assert recorded.attrs["readout"] == "max"
    assert json.loads(recorded.attrs["input_format"])["width_px"] == 40


def test_a_protocol_that_is_named_twice_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=r"^protocol 'small' is asked for twice; leave one out"):
        probe(Cells(), ["small", "patches", "small"], out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unanalyzed")
def test_a_protocol_can_be_made_for_the_occasion(tmp_path: Path) -> None:
    made = Protocol("mine", "What is it for?", "Ours.", PROTOCOLS["small"]())
    out = probe(Cells(), [made], out=tmp_path / "run")
    recorded = responses(out, "mine")
    assert recorded.attrs["purpose"] == "What is it for?"
    assert recorded.attrs["citation"] == "Ours."
    assert recorded.attrs["stimuli_sha256"] == made.stimuli.sha256


@pytest.mark.usefixtures("unanalyzed")
def test_of_a_battery_a_model_without_color_is_shown_what_it_can_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hue = partial(sweep, grating, spatial_frequency=1, color="dkl", azimuth=[0, 90])
    monkeypatch.setitem(PROTOCOLS, "hue", hue)
    both = Battery("two", ("small", "hue"))
    monkeypatch.setitem(protocols.BATTERIES, "both", both)
    out = probe(Cells(), ["both"], out=tmp_path / "run")
    assert json.loads((out / "run.json").read_text())["protocols"] == ["small"]
    with pytest.raises(ValueError, match=r"^Cells takes one channel and sees no color; show it"):
        probe(Cells(), ["hue"], out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


# Folders that are there already.


def test_an_existing_run_is_refused_and_kept(run: Path) -> None:
    before = files(run)
    with pytest.raises(FileExistsError, match=r"exists; pass --overwrite or --resume, or another"):
        record_both(Cells(), run)
    assert files(run) == before


@pytest.mark.parametrize(
    "options", [{}, {"overwrite": True}, {"resume": True}, {"resume": True, "overwrite": True}]
)
def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path, options: dict[str, bool]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("responses.zarr")
    for out in (tmp_path, tmp_path / "thesis", tmp_path / "empty", tmp_path / "file"):
        with pytest.raises(FileExistsError, match="exists and is not a run") as refused:
            record_both(Cells(), out, **options)
        assert str(out) in str(refused.value)
    assert files(tmp_path) == {"thesis/chapter.tex": b"years", "file": b"responses.zarr"}
    assert (tmp_path / "empty").is_dir()


@pytest.mark.usefixtures("unanalyzed")
def test_overwriting_leaves_nothing_of_the_run_before(tmp_path: Path) -> None:
    out = record_both(Cells(), tmp_path / "run")
    (out / "units.csv").write_text("old")
    first = responses(out, "small")["response"]
    probe(Cells(gain=2), ["small"], out=out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["responses.zarr", "run.json"]
    assert [path.name for path in (out / "responses.zarr").iterdir()] == ["small"]
    second = responses(out, "small")["response"]
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": ["bnak"]}, KeyError, "no layer 'bnak'; did you mean bank"),
        ({"protocols": ["smal"]}, KeyError, "no protocol 'smal'; did you mean small"),
        ({"protocols": ["small", "too_fine"]}, ValueError, "spatial_frequency=8 is not below"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"readout": "median"}, ValueError, "readout='median'"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"protocols": []}, ValueError, "protocol"),
    ],
    ids=["layer", "protocol", "nyquist", "batch_size", "readout", "seed", "nothing"],
)
def test_what_cannot_be_done_does_not_cost_the_run_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "analyze", lambda run, about: None)
        out = probe(Cells(), ["small"], out=tmp_path / "run")
    before = files(out)
    with pytest.raises(error) as refused:
        probe(Cells(), out=out, overwrite=True, **({"protocols": ["small"]} | options))
    assert message in str(refused.value.args[0])
    assert files(out) == before


# Interrupted and resumed.


@pytest.mark.parametrize("batches", [0, 5, STIMULI // BATCH + 7])
def test_an_interrupted_run_is_resumed_to_what_an_uninterrupted_one_gives(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        record_both(Cells(stop_after=batches), out)
    assert [path.name for path in out.iterdir()] == ["responses.zarr"]
    if batches % (STIMULI // BATCH):
        protocol = "small" if batches < STIMULI // BATCH else "patches"
        begun = responses(out, protocol)["response"]
        recorded = batches % (STIMULI // BATCH) * BATCH
        assert np.isfinite(begun[:recorded]).all()
        assert np.isnan(begun[recorded:]).all()
    if batches != 5:  # the tables and figures once are enough
        monkeypatch.setattr(experiment, "analyze", lambda run, about: None)
    model = Cells()
    about = {"source": "cells of a bank", "seed": 5, "command": "ephys probe cells"}
    record_both(model, out, resume=True, **about)
    assert model.batches == 2 * STIMULI // BATCH - batches  # none is shown again
    for protocol in ("small", "patches"):
        resumed, whole = responses(out, protocol), responses(run, protocol)
        np.testing.assert_array_equal(
            resumed["response"].values.view(np.uint32), whole["response"].values.view(np.uint32)
        )
        xr.testing.assert_equal(resumed, whole)
    if batches == 5:
        for name in ("units.csv", "population.csv", "run.json"):
            assert (out / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.usefixtures("unanalyzed")
def test_an_interrupted_run_is_not_begun_anew_without_being_asked(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        record_one(Cells(stop_after=3), out)
    before = files(out)
    with pytest.raises(FileExistsError, match="--overwrite or --resume"):
        record_one(Cells(), out)
    assert files(out) == before


@pytest.mark.usefixtures("unanalyzed")
def test_a_finished_run_has_nothing_left_to_record(tmp_path: Path) -> None:
    out = record_one(Cells(), tmp_path / "run")
    model = Cells()
    record_one(model, out, resume=True)
    assert model.batches == 0


@pytest.mark.usefixtures("unanalyzed")
def test_nothing_to_resume_is_a_run_from_the_start(tmp_path: Path) -> None:
    model = Cells()
    record_one(model, tmp_path / "run", resume=True)
    assert model.batches == STIMULI // BATCH


@pytest.mark.usefixtures("unanalyzed")
def test_the_command_that_overwrote_can_be_resumed(tmp_path: Path) -> None:
    # The line after Ctrl-C says: run the same command with --resume.
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        record_one(Cells(stop_after=3), out, overwrite=True)
    model = Cells()
    record_one(model, out, overwrite=True, resume=True)
    assert model.batches == STIMULI // BATCH - 3


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"readout": "mean"}, "readout='center', not 'mean'"),
        ({"batch_size": 2 * BATCH}, "batch_size=8, not 16"),
        ({"layers": ["bank", ""]}, "no layer ''"),
        ({"model": Cells(gain=2)}, "model_sha256="),
        ({"input_format": InputFormat(1, 48, 48, 14.0)}, "input_format="),
    ],
    ids=["readout", "batch_size", "layers", "weights", "scale"],
)
@pytest.mark.usefixtures("unanalyzed")
def test_another_experiment_is_not_resumed(
    tmp_path: Path, options: dict[str, Any], difference: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        probe(Cells(stop_after=3), ["small"], out=out, batch_size=BATCH)
    before = files(out)
    asked: dict[str, Any] = {"model": Cells(), "protocols": ["small"], "batch_size": BATCH}
    with pytest.raises((ValueError, KeyError)) as refused:
        probe(out=out, resume=True, **(asked | options))
    assert difference in str(refused.value.args[0])
    assert files(out) == before


# Refusals before anything is written.


def test_a_grating_above_nyquist_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "cells"
    for names in (["too_fine"], ["small", "too_fine"]):
        with pytest.raises(ValueError, match=r"spatial_frequency=8 .* limit of 7\.5") as refused:
            probe(Cells(), names, out=out)
        assert "pixels_per_degree > 16" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "cells"
    with pytest.raises(KeyError, match="no protocol 'patch'; did you mean patches"):
        probe(Cells(), ["small", "patch"], out=out)
    with pytest.raises(KeyError, match="no layer 'benk'; did you mean bank"):
        probe(Cells(), ["small"], out=out, layers=["benk"])
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_say_what_it_takes_or_offers_is_asked(tmp_path: Path) -> None:
    bare = nn.Sequential(GaborBank())
    with pytest.raises(ValueError, match=r"Sequential does not say what it takes; pass input_form"):
        probe(bare, ["small"], out=tmp_path / "run", layers=["0"])
    shape = InputFormat(channels=1, height_px=48, width_px=48)
    with pytest.raises(ValueError, match=r"which layers of Sequential\? pass layers"):
        probe(bare, ["small"], out=tmp_path / "run", input_format=shape)
    assert list(tmp_path.iterdir()) == []


# What it would cost.


def test_an_estimate_counts_stimuli_units_and_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = estimate(Cells(), ["small", "patches"], batch_size=BATCH)
    assert table["protocol"].tolist() == ["small", "patches"]
    assert table["stimuli"].tolist() == [STIMULI, STIMULI]
    assert table["units"].tolist() == [64, 64]
    # Four bytes for each response.
    np.testing.assert_allclose(table["megabytes"], 4 * STIMULI * 64 / 1e6)
    assert (table["seconds"] > 0).all()
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_shows_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ephys.experiment.ENOUGH_SECONDS", 0)
    model = Cells()
    estimate(model, ["small"], batch_size=BATCH)
    assert 0 < model.batches < STIMULI // BATCH


def test_an_estimate_is_of_all_stimuli(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own: a tenth of a second for a recording, a hundredth for a stimulus."""
    now = 0.0

    def recorded(model: object, stimuli: StimulusSet, *_: object, **__: object) -> xr.Dataset:
        nonlocal now
        now += 0.1 + 0.01 * len(stimuli)
        return xr.Dataset({"response": (("stimulus", "unit"), np.zeros((len(stimuli), 3)))})

    monkeypatch.setattr("ephys.experiment.record", recorded)
    monkeypatch.setattr("ephys.experiment.time.perf_counter", lambda: now)
    (seconds,) = estimate(Cells(), ["small"])["seconds"]
    assert seconds == pytest.approx(0.1 + 0.01 * STIMULI)
    # It showed 8, to be ready, and 8, 32 and then, since that took no second, all.
    assert now == pytest.approx(4 * 0.1 + 0.01 * (8 + 8 + 32 + STIMULI))


def test_an_estimate_refuses_what_the_experiment_would() -> None:
    with pytest.raises(ValueError, match=r"spatial_frequency=8 is"):
        estimate(Cells(), ["too_fine"])
    with pytest.raises(KeyError, match="no layer 'benk'"):
        estimate(Cells(), ["small"], layers=["benk"])


# Beside the animal.


def few_of(stimuli: StimulusSet) -> StimulusSet:
    """A part of the gratings of Marques et al. that is still complete."""
    table = stimuli.table
    mapped = (table["part"] == "receptive_field").values
    places = (abs(table["x"] - 0.5) <= 0.5) & (abs(table["y"] + 0.5) <= 0.5)
    coarse = (table["orientation"] % 30 == 0) & (table["phase"] % 90 == 0)
    return stimuli[np.where(mapped, places, coarse)]


def test_the_default_readout_is_where_most_of_the_fixed_stimuli_are() -> None:
    assert choose_readout(protocols.marques2020()) == Near(0.5, -0.5, 0.3)
    assert choose_readout(protocols.marques2020_corrected()) == "center"
    assert choose_readout(protocols.marques2020(), "map") == "map"
    assert choose_readout(protocols.marques2020(), []) == []  # to be refused, and not replaced


def test_one_command_puts_units_beside_the_animal(tmp_path: Path) -> None:
    model = nn.Sequential(GaborBank(stride=3))
    shape = InputFormat(channels=1, height_px=48, width_px=48, pixels_per_degree=15)
    faithful = Protocol("faithful", "", "", few_of(protocols.marques2020()))
    corrected = protocols.marques2020_corrected(field=shape.field)
    both = [faithful, Protocol("corrected", "", "", few_of(corrected))]
    run = probe(model, both, out=tmp_path / "run", layers=["0"], input_format=shape, seed=3)
    looking = responses(run, "faithful")
    assert (np.hypot(looking["rf_x"] - 0.5, looking["rf_y"] + 0.5) <= 0.3).all()
    assert looking.attrs["centered"] == 0
    scores = pd.read_csv(run / "macaque_v1.csv", dtype={"layer": str})
    keys = ["protocol", "layer", "property"]
    expected = itertools.product(["faithful", "corrected"], ["0"], distributions())
    assert list(scores[keys].itertuples(index=False, name=None)) == list(expected)
    units = pd.read_csv(run / "units.csv")
    by_protocol: dict[str, Estimators] = {"faithful": "published", "corrected": "corrected"}
    for name, estimators in by_protocol.items():
        found = unit_properties(responses(run, name), estimators=estimators)
        own = units[units["protocol"] == name]
        assert len(own) == found.sizes["unit"] > 0
        for measure in distributions():
            np.testing.assert_allclose(own[measure], found[measure], rtol=5e-9)  # nine digits
        by_hand = score(found, seed=3)
        table = scores[scores["protocol"] == name].set_index("property")
        for column in ("units", "defined", "similarity", "ceiling", "score", "low", "high"):
            np.testing.assert_allclose(table[column], by_hand[column], rtol=5e-9)
    analyze(run)
    pd.testing.assert_frame_equal(scores, pd.read_csv(run / "macaque_v1.csv", dtype={"layer": str}))
