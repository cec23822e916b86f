"""Responses come out in order, and come back from disk as they were written."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from ephys.responses import (
    UNIT_ATTRIBUTES,
    create_store,
    grid,
    open_store,
    reopen_store,
    unit_coordinates,
    varied_parameters,
)

UNITS = 3
AXES = {
    "orientation": np.arange(5) * 36.0,
    "contrast": np.array([0.1, 0.5, 0.9]),
    "phase": np.array([0.0, 90.0]),
}


def place_value(orientation: float, contrast: float, phase: float) -> np.ndarray:
    """A response that tells where it belongs, of all units: exact in float32."""
    place = orientation / 36 + 10 * round(10 * contrast) + 1000 * phase / 90
    return place + 0.25 * np.arange(UNITS)


def responses(order: np.ndarray | None = None) -> xr.Dataset:
    """A complete grid in memory, its stimuli in the order given."""
    rows = np.array(list(itertools.product(*AXES.values())))
    rows = rows if order is None else rows[order]
    values = np.array([place_value(*row) for row in rows], np.float32)
    stimulus = {
        name: ("stimulus", column, {"units": "1" if name == "contrast" else "degree"})
        for name, column in zip(AXES, rows.T, strict=True)
    }
    unit = unit_coordinates("encoder.0", UNITS, row=4, column=5, rf_x=0.25, rf_y=-0.5)
    return xr.Dataset(
        {
            "response": (("stimulus", "unit"), values, {"units": "1", "long_name": "response"}),
            "blank": ("unit", np.arange(UNITS, dtype=np.float32), {"units": "1"}),
        },
        {
            "family": ("stimulus", np.full(len(rows), "grating")),
            **stimulus,
            **{name: ("unit", values, UNIT_ATTRIBUTES.get(name)) for name, values in unit.items()},
        },
        {"model": "a bank", "seed": 7, "pixels_per_degree": 15.0},
    )


COUNT = 5 * 3 * 2


# grid.


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_stimuli_shown_in_any_order_come_out_in_order(data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(COUNT))))
    names = data.draw(st.permutations(list(AXES)))
    table = grid(responses(order), *names)
    assert table.dims == (*names, "unit")
    for name, axis in AXES.items():
        np.testing.assert_array_equal(table[name], axis)
    for orientation, contrast, phase in itertools.product(*AXES.values()):
        at = {"orientation": orientation, "contrast": contrast, "phase": phase}
        expected = place_value(orientation, contrast, phase)
        np.testing.assert_array_equal(table.sel(at), expected)


def test_the_dimensions_of_the_responses_may_come_in_either_order() -> None:
    turned = responses().transpose("unit", "stimulus")
    xr.testing.assert_identical(grid(turned, *AXES), grid(responses(), *AXES))


def test_units_attributes_and_coordinates_are_kept() -> None:
    recorded = responses()
    table = grid(recorded, *AXES)
    assert table.attrs == recorded["response"].attrs
    for name in AXES:
        assert table[name].attrs == recorded[name].attrs
    for name in ("layer", "channel", "row", "column", "rf_x", "rf_y"):
        xr.testing.assert_identical(table[name].variable, recorded[name].variable)
    assert "family" not in table.coords


def test_a_selection_with_one_contrast_needs_no_name_for_it() -> None:
    recorded = responses()
    selected = recorded.isel(stimulus=recorded["contrast"].values == 0.5)
    table = grid(selected, "phase", "orientation")
    np.testing.assert_array_equal(table.sel(phase=90, orientation=72), place_value(72, 0.5, 90))


def test_a_single_stimulus_is_a_grid_of_no_parameter() -> None:
    one = responses().isel(stimulus=[7])
    np.testing.assert_array_equal(grid(one), one["response"][0])


def test_what_was_not_recorded_is_nan_in_its_place() -> None:
    recorded = responses()
    recorded["response"][11] = np.nan
    table = grid(recorded, *AXES)
    at = {name: recorded[name].values[11] for name in AXES}
    assert np.isnan(table.sel(at)).all()
    assert np.isfinite(table).sum() == (COUNT - 1) * UNITS


def test_two_stimuli_in_one_place_are_refused_with_the_parameter_that_tells_them_apart() -> None:
    with pytest.raises(ValueError, match=r"^2 stimuli share one place; name also: phase$"):
        grid(responses(), "orientation", "contrast")
    with pytest.raises(ValueError, match=r"^6 stimuli share one place; name also: contrast, phase"):
        grid(responses(), "orientation")


def test_a_stimulus_shown_twice_is_refused() -> None:
    twice = responses(np.array([*range(COUNT), 4]))
    with pytest.raises(ValueError, match=r"^2 stimuli share one place"):
        grid(twice, *AXES)


def test_a_grid_with_a_hole_is_refused_with_its_place() -> None:
    # Row 17 of the product: orientation 72, contrast 0.9, phase 90.
    missing = responses(np.delete(np.arange(COUNT), 17))
    with pytest.raises(
        ValueError, match=r"no stimulus with orientation=72.0, contrast=0.9, phase=90.0; select"
    ):
        grid(missing, *AXES)


@pytest.mark.parametrize("name", ["colour", "unit", "layer", "response"])
def test_a_name_that_is_no_parameter_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(
        KeyError, match=rf"'{name}' is no parameter.*family, orientation, contrast, phase"
    ):
        grid(responses(), "orientation", name)


# varied_parameters.


def test_parameters_of_one_value_are_not_varied() -> None:
    recorded = responses()
    assert varied_parameters(recorded) == ["contrast", "orientation", "phase"]
    selected = recorded.isel(stimulus=recorded["contrast"].values == 0.5)
    assert varied_parameters(selected) == ["orientation", "phase"]
    assert varied_parameters(recorded.isel(stimulus=[3])) == []


def test_a_parameter_that_no_stimulus_of_the_family_has_is_not_varied() -> None:
    nothing = ("stimulus", np.full(COUNT, np.nan))
    recorded = responses().assign_coords(envelope_sd=nothing)
    assert varied_parameters(recorded) == ["contrast", "orientation", "phase"]


def test_whole_numbers_are_numbers_too() -> None:
    recorded = responses()
    recorded = recorded.assign_coords(orientation=recorded["orientation"].astype(int))
    assert varied_parameters(recorded) == ["contrast", "orientation", "phase"]


def test_stimuli_of_two_families_are_refused_by_name() -> None:
    recorded = responses()
    families = np.where(np.arange(COUNT) < 4, "gabor", "grating")
    recorded = recorded.assign_coords(family=("stimulus", families))
    with pytest.raises(ValueError, match=r"2 families \(gabor, grating\); select one"):
        varied_parameters(recorded)


# On disk.


@pytest.mark.parametrize("chunk", [1, 7, COUNT, 1000])
def test_what_was_written_comes_back_exactly(tmp_path: Path, chunk: int) -> None:
    recorded = responses()
    # A unit that pools has no place, and names of layers differ in length.
    recorded["row"][1], recorded["rf_x"][1] = np.nan, np.nan
    recorded = recorded.assign_coords(layer=("unit", ["a", "encoder.10", "features.ü"]))
    path = tmp_path / "responses.zarr"
    array = create_store(path, recorded.drop_vars("response"), chunk=chunk)
    array[:] = recorded["response"].values
    with open_store(path) as opened:
        xr.testing.assert_identical(opened.load(), recorded)
        for name, variable in recorded.variables.items():
            assert opened[name].dtype == variable.dtype
        assert list(opened.attrs.items()) == list(recorded.attrs.items())


def test_a_store_in_memory_is_as_good_as_one_on_disk(tmp_path: Path) -> None:
    recorded = responses()
    for place in (MemoryStore(), tmp_path / "responses.zarr"):
        create_store(place, recorded.drop_vars("response"), chunk=8)[:] = recorded["response"]
        xr.testing.assert_identical(open_store(place).load(), recorded)


def test_rows_that_were_not_recorded_are_nan(tmp_path: Path) -> None:
    recorded = responses()
    path = tmp_path / "responses.zarr"
    array = create_store(path, recorded.drop_vars("response"), chunk=4)
    array[4:8] = recorded["response"].values[4:8]
    with open_store(path) as opened:
        response = opened["response"].values
        np.testing.assert_array_equal(response[4:8], recorded["response"].values[4:8])
        assert np.isnan(np.delete(response, np.s_[4:8], axis=0)).all()


def test_extreme_responses_survive_the_disk(tmp_path: Path) -> None:
    recorded = responses()
    limits = np.finfo(np.float32)
    extremes = np.array([0, -0.0, np.inf, -np.inf, limits.max, limits.smallest_subnormal])
    recorded["response"][:6] = extremes[:, None]
    path = tmp_path / "responses.zarr"
    create_store(path, recorded.drop_vars("response"), chunk=4)[:] = recorded["response"].values
    with open_store(path) as opened:
        back, written = opened["response"].values, recorded["response"].values
    np.testing.assert_array_equal(back.view(np.uint32), written.view(np.uint32))


def test_an_interrupted_recording_goes_on_where_it_stopped(tmp_path: Path) -> None:
    recorded = responses()
    path = tmp_path / "responses.zarr"
    values = recorded["response"].values
    create_store(path, recorded.drop_vars("response"), chunk=4)[:12] = values[:12]
    array = reopen_store(path, {"model": "a bank", "seed": 7})
    np.testing.assert_array_equal(array[:12], values[:12])
    assert np.isnan(array[12:]).all()
    array[12:] = values[12:]
    with open_store(path) as opened:
        xr.testing.assert_identical(opened.load(), recorded)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"model": "a bank", "seed": 8}, r"seed=7, not 8"),
        ({"model": "another"}, r"model='a bank', not 'another'"),
        ({"device": "cpu"}, r"device=None, not 'cpu'"),
    ],
)
def test_another_recording_is_not_continued(
    tmp_path: Path, about: dict[str, str | float], message: str
) -> None:
    path = tmp_path / "responses.zarr"
    create_store(path, responses().drop_vars("response"), chunk=4)
    with pytest.raises(ValueError, match=message):
        reopen_store(path, about)


def test_creating_a_store_leaves_nothing_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    recorded = responses()
    create_store(path, recorded.drop_vars("response"), chunk=4)[:] = recorded["response"].values
    fewer = recorded.isel(stimulus=slice(9)).drop_vars(["response", "phase"])
    create_store(path, fewer, chunk=4)
    with open_store(path) as opened:
        assert opened["response"].shape == (9, UNITS)
        assert np.isnan(opened["response"]).all()
        assert "phase" not in opened.coords


def test_a_store_that_cannot_be_created_leaves_the_older_one_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    recorded = responses()
    create_store(path, recorded.drop_vars("response"), chunk=4)[:] = recorded["response"].values
    unwritable = recorded.drop_vars("response").assign_attrs(model=object())
    with pytest.raises(TypeError):
        create_store(path, unwritable, chunk=4)
    with open_store(path) as opened:
        xr.testing.assert_identical(opened.load(), recorded)
    # And nothing of the failure stands in the way of the next.
    create_store(path, recorded.drop_vars("response"), chunk=4)
    with open_store(path) as opened:
        assert np.isnan(opened["response"]).all()
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_without_a_store_is_refused_by_its_name(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.zarr"):
        with pytest.raises(FileNotFoundError, match=f"{path.name} holds no recorded responses"):
            open_store(path)


def test_units_of_one_layer_share_a_place_and_count_their_channels() -> None:
    coordinates = unit_coordinates("conv", 4, row=2, column=3, rf_x=0.5, rf_y=-1)
    np.testing.assert_array_equal(coordinates["channel"], [0, 1, 2, 3])
    for name, value in {"row": 2, "column": 3, "rf_x": 0.5, "rf_y": -1}.items():
        np.testing.assert_array_equal(coordinates[name], np.full(4, value, float))
    assert list(np.asarray(coordinates["layer"])) == ["conv"] * 4
