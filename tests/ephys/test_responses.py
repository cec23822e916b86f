"""Responses come out in order, and come back from disk as they were written."""

import itertools
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dask.threaded
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
    is_recorded,
    load,
    open_store,
    reopen_store,
    varied_parameters,
    write,
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
    place = {"row": 4.0, "column": 5.0, "rf_x": 0.25, "rf_y": -0.5}
    unit = {
        "layer": np.full(UNITS, "encoder.0"),
        "channel": np.arange(UNITS),
        **{name: np.full(UNITS, value) for name, value in place.items()},
    }
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


# Dask arrays.

CHUNKINGS: list[Mapping[str, int]] = [
    {"stimulus": COUNT, "unit": 1},
    {"stimulus": 7, "unit": UNITS},
    {"stimulus": 1, "unit": 2},
]


def refuse(*_: Any, **__: Any) -> None:
    """A scheduler, for what must not be computed."""
    raise AssertionError("computed")


def shuffled() -> xr.Dataset:
    return responses(np.random.default_rng(77).permutation(COUNT))


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_a_grid_of_a_dask_array_is_a_dask_array_of_the_same_numbers(
    chunks: Mapping[str, int],
) -> None:
    recorded = shuffled()
    lazy = recorded.assign(response=recorded["response"].variable.chunk(chunks))
    with dask.config.set(scheduler=refuse):
        table = grid(lazy, *AXES)
    assert all(len(table.chunksizes[name]) == 1 for name in AXES)
    xr.testing.assert_identical(table.compute(), grid(recorded, *AXES))


def test_chunks_of_stimuli_are_divided_into_units_that_memory_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ephys.responses.BLOCK_VALUES", 2 * COUNT + 1)
    table = grid(shuffled().chunk(stimulus=7), *AXES)
    assert table.variable.chunksizes["unit"] == (2, 1)


def test_blocks_of_units_stay_as_they_are() -> None:
    table = grid(shuffled().chunk(unit=(2, 1)), *AXES)
    assert table.variable.chunksizes["unit"] == (2, 1)
    # And no block is as small as the last one.
    table = grid(shuffled().chunk(stimulus=7, unit=2), *AXES)
    assert table.variable.chunksizes["unit"] == (2, 1)


def test_of_a_zarr_folder_opened_in_chunks_only_parameters_are_read(tmp_path: Path) -> None:
    recorded = shuffled()
    path = tmp_path / "responses.zarr"
    array = create_store(path, recorded.drop_vars("response"), chunk=7)
    array[:] = recorded["response"].values
    lazy = xr.open_zarr(path, consolidated=False, chunks={})
    assert lazy["contrast"].chunks  # as its coordinates come

    def parameters_only(graph: Any, keys: Any, **settings: Any) -> Any:
        arrays = dask.threaded.get(graph, keys, **settings)
        assert [array.shape for array in arrays] == [(COUNT,)] * len(arrays)
        return arrays

    with dask.config.set(scheduler=parameters_only):
        assert varied_parameters(lazy) == ["contrast", "orientation", "phase"]
        table = grid(lazy, *AXES)
        with pytest.raises(AssertionError):  # it would be seen
            table.compute()
    xr.testing.assert_identical(table.compute(), grid(recorded, *AXES))


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


@pytest.mark.parametrize("chunk", [4, COUNT])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_store_opens_in_blocks_of_units(tmp_path: Path, chunk: int, in_memory: bool) -> None:
    recorded = shuffled()
    place = MemoryStore() if in_memory else tmp_path / "responses.zarr"
    array = create_store(place, recorded.drop_vars("response"), chunk=chunk)
    array[:] = recorded["response"].values
    with dask.config.set(scheduler=refuse):
        lazy = open_store(place, chunks={"unit": 2})
        assert lazy["response"].variable.chunksizes == {"stimulus": (COUNT,), "unit": (2, 1)}
        assert not [name for name in lazy.coords if lazy[name].variable.chunks]
        table = grid(lazy, *AXES)
    xr.testing.assert_identical(lazy.compute(), recorded)
    xr.testing.assert_identical(table.compute(), grid(recorded, *AXES))


def test_chunks_without_dask_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    create_store(store, responses().drop_vars("response"), chunk=4)
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ModuleNotFoundError, match=r"^chunks need dask: pip install ephys\[dist"):
        open_store(store, chunks={"unit": 2})
    open_store(store)


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


def test_a_store_opens_by_the_alphabet(tmp_path: Path) -> None:
    """And not in any order, another one each time, as its folder is listed."""
    recorded = responses()
    array = create_store(tmp_path / "store", recorded.drop_vars("response"), chunk=4)
    array[:] = recorded["response"].values
    for _ in range(3):
        with open_store(tmp_path / "store") as opened:
            assert list(opened.coords) == sorted(map(str, recorded.coords))
            assert list(opened.data_vars) == sorted(map(str, recorded.data_vars))
            xr.testing.assert_identical(opened.load(), recorded)


def test_a_folder_of_stores_says_which_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "responses.zarr"
    folder.mkdir(parents=True)
    create_store(folder / "size", responses().drop_vars("response"), chunk=4)
    for place in (folder, folder.parent):
        with pytest.raises(FileNotFoundError, match=r"but .*responses.zarr/size do; open one"):
            open_store(str(place))
    assert open_store(str(folder / "size")).sizes


# Interrupted, refused and damaged. What happens to a whole recording is in test_interruptions.

CHUNK = 7
ABOUT: dict[str, str | float] = {"model": "a bank", "seed": 7}


def rows_of(chunk: int) -> slice:
    return slice(CHUNK * chunk, min(CHUNK * (chunk + 1), COUNT))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """All responses in five chunks, of which the first is noise and the second constant."""
    recorded = responses()
    values = recorded["response"].values
    values[rows_of(0)] = np.random.default_rng(1).standard_normal((CHUNK, UNITS))
    values[rows_of(1)] = 2.5
    path = tmp_path / "responses.zarr"
    array = create_store(path, recorded.drop_vars("response"), chunk=CHUNK)
    for chunk in range(5):
        write(array, rows_of(chunk), values[rows_of(chunk)])
    return path


def refused(name: str) -> Any:
    """Damage of an array, by the store's name and that of the array, in one line."""
    way_out = "record it again with --resume.*" if name == "response" else "overwrite it"
    sentence = rf"^/.*/responses\.zarr: {name} is damaged \(.+\); {way_out}$"
    return pytest.raises(ValueError, match=sentence)


def test_a_chunk_is_recorded_once_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    array = create_store(path, responses().drop_vars("response"), chunk=CHUNK)
    assert not any(is_recorded(array, rows_of(chunk)) for chunk in range(5))
    values = np.full((CHUNK, UNITS), np.nan)
    values[3, 1] = 0  # a model may answer with NaN
    write(array, rows_of(2), values)
    again = reopen_store(path, ABOUT)
    assert [is_recorded(again, rows_of(chunk)) for chunk in range(5)] == [0, 0, 1, 0, 0]


def test_all_of_a_store_is_loaded(store: Path) -> None:
    expected = xr.open_zarr(store, consolidated=False, chunks=None).load()
    opened = open_store(store)
    assert load(opened) is opened
    shutil.rmtree(store)
    xr.testing.assert_identical(opened, expected)


def test_what_is_not_recorded_yet_is_not_loaded_as_if_it_were(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    recorded = responses()
    array = create_store(path, recorded.drop_vars("response"), chunk=CHUNK)
    for chunk in (0, 1, 3):
        write(array, rows_of(chunk), recorded["response"].values[rows_of(chunk)])
    with refused("response") as refusal:
        load(open_store(path).isel(unit=[1]))
    assert "(2 of 5 chunks missing)" in str(refusal.value)


def test_responses_that_are_all_nan_are_there(tmp_path: Path) -> None:
    for place in (MemoryStore(), tmp_path / "responses.zarr"):
        array = create_store(place, responses().drop_vars("response"), chunk=CHUNK)
        for chunk in range(5):
            write(array, rows_of(chunk), np.full((CHUNK, UNITS), np.nan)[: COUNT - CHUNK * chunk])
        assert np.isnan(load(open_store(place))["response"]).all()


def damages(whole: bytes) -> Iterator[bytes]:
    """Every bit turned over, every length but the right one."""
    for place, bit in itertools.product(range(len(whole)), range(8)):
        yield whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
    for length in range(len(whole)):
        yield whole[:length]
    yield whole + b"\0"


@pytest.mark.parametrize("chunk", [0, 1, 4])
def test_any_damage_of_a_chunk_is_noticed(store: Path, chunk: int) -> None:
    array, file = reopen_store(store, ABOUT), store / "response" / f"{chunk}.0"
    first, last = rows_of(chunk).start, rows_of(chunk).stop - 1
    warning = re.escape(f"{store}: stimuli {first} to {last} are damaged (")
    whole = file.read_bytes()
    for count, damaged in enumerate(damages(whole)):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"^{warning}.+\) and recorded anew$"):
            assert not is_recorded(array, rows_of(chunk))
        if count % 25 == 0:
            with refused("response"):
                load(open_store(store))
    file.write_bytes(whole)
    assert is_recorded(array, rows_of(chunk))
    load(open_store(store))


@pytest.mark.parametrize("name", ["blank", "orientation", "family", "layer", "channel", "rf_x"])
def test_any_damage_of_what_is_no_response_is_noticed(store: Path, name: str) -> None:
    file = store / name / "0"
    whole = file.read_bytes()
    for damaged in itertools.islice(damages(whole), 0, None, 30):
        file.write_bytes(damaged)
        with refused(name):
            load(open_store(store))
        with refused(name):
            reopen_store(store, ABOUT)
    file.unlink()
    with refused(name):
        load(open_store(store))
    with refused(name):
        reopen_store(store, ABOUT)


@pytest.mark.parametrize("file", ["response/.zarray", "orientation/.zattrs", ".zattrs", ".zgroup"])
def test_metadata_that_cannot_be_read_are_refused(store: Path, file: str) -> None:
    whole = (store / file).read_bytes()
    for damaged in [b"", whole[:-2], whole[1:], b"\xff" + whole, b"[]"]:
        (store / file).write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"^the metadata of {store} are damaged; overwrite"):
            open_store(store)


def test_what_a_killed_write_left_is_cleared_away(store: Path) -> None:
    torso = store / "response" / f"1.{'0' * 32}.partial"
    torso.write_bytes(b"half a chu")
    load(open_store(store))
    assert torso.exists()
    reopen_store(store, ABOUT)
    assert not torso.exists()
    load(open_store(store))


def test_a_write_that_is_refused_says_what_and_where(store: Path) -> None:
    array = reopen_store(store, ABOUT)
    (store / "response").rename(store / "elsewhere")
    (store / "response").write_bytes(b"a file")
    sentence = r": stimuli 7 to 13 cannot be written; what was before is kept, and can be resumed: "
    with pytest.raises(OSError, match=sentence) as refusal:
        write(array, rows_of(1), np.zeros((CHUNK, UNITS)))
    assert refusal.value.filename == str(store)
    assert refusal.value.errno
    assert (store / "response").read_bytes() == b"a file"


def test_a_store_that_cannot_be_created_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    path = tmp_path / "file" / "responses.zarr"
    with pytest.raises(OSError, match=r": the store cannot be created: ") as refusal:
        create_store(path, responses().drop_vars("response"), chunk=CHUNK)
    assert refusal.value.filename == str(path)
    assert (tmp_path / "file").read_bytes() == b"precious"
