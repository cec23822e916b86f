"""Maps on the grid of the checks are those of planted filters, and of pixels."""

import json
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import nn

from ephys.check_maps import check_maps, drawn_at
from ephys.experiment import probe
from ephys.mapping import reverse_correlation
from ephys.models.input_format import InputFormat
from ephys.stimuli import StimulusSet, grating, patch, sparse_noise, sweep, white_noise
from ephys.visual_field import VisualField

STEP = 0.25  # degrees
PLACES = np.arange(6) * STEP - 0.5  # of 6 columns; rows are 5 of these
SPOTS: dict[str, Any] = {"x": PLACES, "y": PLACES[:5], "check_size": STEP, "polarity": [-1, 1]}


def shown(stimuli: StimulusSet, response: np.ndarray, blank: ArrayLike = 0.0) -> xr.Dataset:
    """Responses (stimulus, unit)."""
    names = ["family", *stimuli.parameters]
    columns = {name: ("stimulus", stimuli.table[name].values) for name in names}
    blanks = np.broadcast_to(blank, response.shape[1]).astype(float)
    return xr.Dataset(
        {"response": (("stimulus", "unit"), response), "blank": ("unit", blanks)}, columns
    )


def linear(stimuli: StimulusSet, filters: np.ndarray) -> np.ndarray:
    """What filters (unit, row, column) on the grid of SPOTS answer, rows from the top."""
    table = stimuli.table
    row = 4 - np.rint((table["y"].values + 0.5) / STEP).astype(int)
    column = np.rint((table["x"].values + 0.5) / STEP).astype(int)
    light = 0.5 * table["polarity"].values  # more than the grey
    return filters[:, row, column].T * light[:, None]


FILTERS = np.random.default_rng(4).normal(size=(3, 5, 6))


def test_the_map_of_a_linear_unit_is_its_filter_by_area() -> None:
    stimuli = sweep(sparse_noise, **SPOTS)
    blank = np.array([0.0, 3.0, -2.0])
    maps, magnitude = check_maps(shown(stimuli, blank + linear(stimuli, FILTERS), blank))
    np.testing.assert_allclose(maps, FILTERS / STEP**2, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(magnitude, 0.5 * abs(FILTERS), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(maps["x"], PLACES, atol=1e-12)
    np.testing.assert_allclose(maps["y"], PLACES[4::-1], atol=1e-12)
    assert (maps.attrs["units"], magnitude.attrs["units"]) == ("degree-2", "1")


def test_a_unit_that_squares_has_a_magnitude_and_no_linear_map() -> None:
    stimuli = sweep(sparse_noise, **SPOTS)
    rng = np.random.default_rng(1)
    squared = linear(stimuli, FILTERS) ** 2
    noisy = (5 + squared) * (1 + 1e-7 * rng.normal(size=squared.shape))
    maps, magnitude = check_maps(shown(stimuli, noisy, 5.0), rounding=xr.DataArray(1e-5))
    assert (maps == 0).all()
    np.testing.assert_allclose(magnitude, 0.25 * FILTERS**2, atol=1e-5)


def test_silent_units_are_flat_and_missing_ones_nan() -> None:
    stimuli = sweep(sparse_noise, **SPOTS)
    response = linear(stimuli, FILTERS)
    response[:, 0], response[7, 1] = 2.0, np.nan
    maps, magnitude = check_maps(shown(stimuli, response, [2.0, 0.0, 0.0]))
    for found in (maps, magnitude):
        assert (found[0] == 0).all()
        assert np.isnan(found[1]).all()
        assert np.isfinite(found[2]).all()
    nobody = check_maps(shown(stimuli, response[:, :1], 2.0))
    assert all((found == 0).all() for found in nobody)
    none = check_maps(shown(stimuli, response[:, :0]))
    assert none[0].shape == (0, 5, 6)


@pytest.mark.parametrize("pixels", [3, 4])
def test_a_pixel_for_each_check_is_what_all_of_its_pixels_are(pixels: int) -> None:
    """Of maps in pixels, whose areas are the square of a pixel; white noise too."""
    field = VisualField(8 * pixels, 8 * pixels, pixels / STEP)
    noise = sweep(white_noise, seed=np.arange(200), check_size=STEP, side=6 * STEP)
    for stimuli in (sweep(sparse_noise, **SPOTS), noise):
        response = np.random.default_rng(8).normal(size=(len(stimuli), 2))
        responses = shown(stimuli, response)
        fine = reverse_correlation(responses, stimuli, field) * field.pixels_per_degree**2
        maps, magnitude = check_maps(responses)
        for y in range(maps.sizes["y"]):
            for x in range(maps.sizes["x"]):
                at = maps[:, y, x]
                near = {axis: abs(fine[axis] - float(at[axis])) < STEP / 2 - 0.01 for axis in "xy"}
                check = fine.isel({axis: np.flatnonzero(inside) for axis, inside in near.items()})
                assert check.sizes["x"] >= pixels - 1
                np.testing.assert_allclose(check, at.broadcast_like(check), rtol=1e-9, atol=1e-9)
        if stimuli is noise:
            np.testing.assert_array_equal(magnitude, abs(maps))


def test_maps_are_where_the_pixels_of_the_checks_are() -> None:
    display = VisualField(24, 31, 10.0)
    about = {"input_format": json.dumps({"height_px": 24, "width_px": 31})}
    spots: dict[str, Any] = {
        "x": PLACES * 1.2,
        "y": PLACES[:5] * 1.2,
        "check_size": STEP * 1.2,
    }  # three pixels
    stimuli = sweep(sparse_noise, **spots, polarity=[-1, 1])
    responses = shown(stimuli, np.zeros((len(stimuli), 3)))
    origins = np.array([[0.0, 0.05, -0.03], [0.0, 0.05, 0.12]])
    assert (drawn_at(responses, origins) == origins).all()  # of an unknown display
    found = drawn_at(responses.assign_attrs(about, pixels_per_degree=10.0), origins)
    assert abs(found - origins).max() > 0.02
    for at, origin in zip(found.T, origins.T, strict=True):
        pictures = stimuli.render(display.centered_on(*origin))[:, 0].numpy() != 0.5
        whole = pictures.sum((1, 2)) == 9
        assert whole.sum() > 20
        for picture, x, y in zip(
            pictures[whole], *(stimuli.table[axis].values[whole] for axis in "xy"), strict=True
        ):
            row, column = np.nonzero(picture)
            middle = display.x[column].mean(), display.y[row].mean()
            np.testing.assert_allclose(middle - at, [x, y], atol=1e-6)


def test_a_dask_array_stays_lazy() -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a dask array was computed")

    stimuli = sweep(sparse_noise, **SPOTS)
    responses = shown(stimuli, linear(stimuli, FILTERS), 0.0)
    with dask.config.set(scheduler=refuse):
        chunked = responses["response"].variable.chunk({"unit": 2, "stimulus": 7})
        lazy = check_maps(responses.assign(response=chunked))
    for found, eager in zip(lazy, check_maps(responses), strict=True):
        xr.testing.assert_identical(found.compute(scheduler="synchronous"), eager)


@pytest.mark.parametrize(
    ("stimuli", "message"),
    [
        (sweep(grating, spatial_frequency=[1, 2]), r"of sparse noise or white noise"),
        (sweep(patch, contrast=1) + sweep(sparse_noise, **SPOTS), r"of sparse noise or white"),
        (
            sweep(sparse_noise, **SPOTS, color="dkl", azimuth=0.0, elevation=0.0),
            r"without color",
        ),
        (sweep(sparse_noise, **SPOTS | {"x": [0, 0.25, 0.75, 1]}), r"not lie on an even grid"),
        (sweep(sparse_noise, **SPOTS | {"x": 0.0}), r"not lie on an even grid"),
        (sweep(sparse_noise, **SPOTS | {"check_size": 0.2}), r"0\.2 degrees, 0\.25 apart, leave"),
        (sweep(sparse_noise, **SPOTS | {"check_size": [0.25, 0.5]}), r"check_size has 2 values"),
        (sweep(sparse_noise, **SPOTS | {"y": PLACES[:3]}), r"3 x 6 checks are no map"),
    ],
)
def test_what_is_no_noise_on_a_grid_is_refused(stimuli: StimulusSet, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_maps(shown(stimuli, np.zeros((len(stimuli), 1))))


# The whole way, from a model to the table of a run.

PIXEL = 0.1  # degrees
GABORS = {  # around the middle of the filter; degrees and cycles per degree
    "center_x": [0.0, 0.1, -0.1],
    "center_y": [0.0, -0.05, 0.1],
    "orientation": [10.0, 40.0, 110.0],
    "spatial_frequency": [2.0, 2.5, 2.2],
    "phase": [90.0, 210.0, 320.0],
    "sd_along": [0.15, 0.16, 0.13],
    "sd_across": [0.15, 0.13, 0.16],
}
BLOB = {"center_x": 0.1, "center_y": -0.1, "sd_major": 0.16, "sd_minor": 0.12, "orientation": 30.0}


def rotated(center_x: float, center_y: float, orientation: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances along an orientation and across it on the pixels of a filter, (row, column)."""
    at = (np.arange(15) - 7) * PIXEL
    x, y = np.meshgrid(at - center_x, -at - center_y)
    angle = np.deg2rad(orientation)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def planted_bank() -> nn.Module:
    """Three Gabors, a Gaussian and nothing, rectified."""
    filters = []
    for x, y, orientation, frequency, phase, sd_along, sd_across in zip(
        *GABORS.values(), strict=True
    ):
        along, across = rotated(x, y, orientation)
        envelope = np.exp(-(along**2) / (2 * sd_along**2) - across**2 / (2 * sd_across**2))
        wave = np.cos(2 * np.pi * frequency * across + np.deg2rad(phase))
        filters.append(envelope * wave)
    along, across = rotated(BLOB["center_x"], BLOB["center_y"], BLOB["orientation"])
    sd = BLOB["sd_major"], BLOB["sd_minor"]
    filters.append(np.exp(-(along**2) / (2 * sd[0] ** 2) - across**2 / (2 * sd[1] ** 2)))
    bank = nn.Conv2d(1, 5, 15, bias=False)
    with torch.no_grad():
        bank.weight.copy_(torch.from_numpy(np.array([*filters, 0 * along]))[:, None])
    # Grey is no light: 0.5 is taken away by a bias, as the mean is by a layer of normalization.
    bank.bias = nn.Parameter(-0.5 * bank.weight.detach().sum((1, 2, 3)))
    return nn.Sequential(bank, nn.ReLU())


def test_planted_receptive_fields_are_in_the_table_of_a_run(tmp_path: Path) -> None:
    format_ = InputFormat(channels=1, height_px=18, width_px=20, pixels_per_degree=1 / PIXEL)
    out = tmp_path / "run"
    probe(planted_bank(), ["receptive_field"], out=out, layers=["1"], input_format=format_)
    units = pd.read_csv(out / "units.csv")
    gabors, blob, silent = units.iloc[:3], units.iloc[3], units.iloc[4]
    # Where the filters are cut off, 4 s.d. from their centers, 3e-4 of them is left.
    for name, planted in GABORS.items():
        found = gabors[f"gabor_{name}"]
        if name.startswith("center"):
            found = found - gabors[f"rf_{name[-1]}"]
        tolerance = 0.05 if name in ("orientation", "phase") else 1e-3  # degrees of angle, or not
        np.testing.assert_allclose(found, planted, rtol=0, atol=tolerance, err_msg=name)
    # A rectified unit answers light or dark: half of its filter, over the area of a pixel.
    np.testing.assert_allclose(gabors["gabor_amplitude"], 0.5 / PIXEL**2, rtol=1e-4)
    assert (gabors["gabor_r_squared"] > 1 - 1e-6).all()
    assert (gabors[["gabor_converged", "gaussian_converged"]] == 1).all(axis=None)
    assert (gabors["gabor_at_bound"] == 0).all()
    for name, value in BLOB.items():
        shift = blob[f"rf_{name[-1]}"] if name.startswith("center") else 0.0
        assert blob[f"gaussian_{name}"] - shift == pytest.approx(value, abs=1e-3), name
    assert blob["gaussian_amplitude"] == pytest.approx(0.5 / 2, rel=1e-4)  # light, not dark
    assert blob["gaussian_r_squared"] > 1 - 1e-6
    fitted = [str(name) for name in units if str(name).startswith(("gabor", "gaussian"))]
    assert len(fitted) == 13 + 10
    assert silent[fitted].isna().all()
    assert units["responsive"].isna().all()  # every spot was shown once
    population = pd.read_csv(out / "population.csv").set_index("measure")
    assert population["count"].to_dict()["unit: gaussian_sd_major"] >= 1
    assert "unit: gabor_orientation" not in population.index  # which goes around a circle
    columns = pd.read_csv(out / "units_columns.csv").set_index("column")
    assert columns.loc["gabor_spatial_frequency", "units"] == "cycles degree-1"
    assert columns.loc["gaussian_center_x", "meaning"] == "centre, to the right, gaussian fit"
