"""Exported recordings: what is read back is what was recorded."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import xarray as xr

from ephys.export import FORMATS, export
from ephys.responses import UNIT_ATTRIBUTES, create_store

STIMULI, UNITS = 11, 4


def recording() -> xr.Dataset:
    """Two families, one without an envelope; units with a place and without; hard numbers."""
    rng = np.random.default_rng(1959)
    response = rng.normal(size=(STIMULI, UNITS)).astype(np.float32)
    limits = np.finfo(np.float32)
    response[2] = -0.0, limits.max, limits.smallest_subnormal, np.inf
    response[3, 1] = np.nan  # of a unit, not of all: the stimulus was shown
    gabor = np.arange(STIMULI) < 5
    of_stimulus = {
        "family": np.where(gabor, "gabor", 'grating, "square"'),
        "envelope_sd": np.where(gabor, 0.1 + 0.2, np.nan),  # no short decimal
        "orientation": rng.uniform(0, 180, STIMULI),
        "seed": np.arange(STIMULI) + 2**53 + 1,  # not a float64
        "colored": gabor,
    }
    of_unit = {
        "layer": ["encoder.0", "encoder.0", "features.ü", "fc,1"],
        "channel": [0, 1, 0, 17],
        "row": [3.0, 3, 4, np.nan],
        "column": [5.0, 5, 4, np.nan],
        "rf_x": [1 / 3, 0.25, -0.5, np.nan],
        "rf_y": [2 / 3, 0.25, -0.5, np.nan],
    }
    silence = rng.normal(size=UNITS).astype(np.float32)
    return xr.Dataset(
        {
            "blank": ("unit", silence, {"units": "1"}),
            "response": (("stimulus", "unit"), response, {"units": "1", "long_name": "response"}),
        },
        {
            **{name: ("stimulus", v, {"long_name": name}) for name, v in of_stimulus.items()},
            **{name: ("unit", v, UNIT_ATTRIBUTES.get(name)) for name, v in of_unit.items()},
        },
        {"model": "a bank, mü", "seed": 7, "pixels_per_degree": 0.1, "note": ""},
    )


@pytest.fixture(params=["dataset", "store", "dask", "transposed"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path | xr.Dataset:
    recorded = recording()
    if request.param == "store":
        path = tmp_path / "responses.zarr" / "a protocol"
        array = create_store(path, recorded.drop_vars("response"), chunk=4)
        array[:] = recorded["response"].values
        return path
    if request.param == "dask":
        return recorded.chunk(stimulus=3, unit=2)
    return recorded.transpose("unit", "stimulus") if request.param == "transposed" else recorded


@pytest.fixture(params=[1, 3 * UNITS, 2**19], ids=["one by one", "in blocks", "at once"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ephys.export.BLOCK_VALUES", request.param)


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


# What was written comes back.


@pytest.mark.usefixtures("blocks")
def test_netcdf_comes_back_exactly(stored: Path | xr.Dataset, tmp_path: Path) -> None:
    path = export(stored, tmp_path / "recording.nc")
    recorded = recording()
    if isinstance(stored, xr.Dataset):
        recorded = recorded.transpose(*stored["response"].dims)
    with xr.open_dataset(path, engine="netcdf4") as opened:
        xr.testing.assert_identical(opened.load(), recorded)
        for name, variable in recorded.variables.items():
            assert opened[name].dtype == variable.dtype
        assert list(opened.attrs.items()) == list(recorded.attrs.items())
        np.testing.assert_array_equal(
            bits(opened["response"].values), bits(recorded["response"].values)
        )


@pytest.mark.usefixtures("blocks")
def test_csv_has_a_row_per_stimulus_and_a_column_per_unit(
    stored: Path | xr.Dataset, tmp_path: Path
) -> None:
    recorded = recording()
    path = export(stored, tmp_path / "recording.csv")
    names = ["encoder.0:0", "encoder.0:1", "features.ü:0", "fc,1:17"]
    of_stimulus = ["stimulus", "family", "colored", "envelope_sd", "orientation", "seed"]
    rows = pd.read_csv(path)
    assert list(rows) == [*of_stimulus, *names]
    np.testing.assert_array_equal(rows["stimulus"], np.arange(STIMULI))
    for name in of_stimulus[1:]:
        np.testing.assert_array_equal(rows[name].values, recorded[name].values)
    np.testing.assert_array_equal(bits(rows[names].values), bits(recorded["response"].values))

    units = pd.read_csv(tmp_path / "recording.units.csv")
    of_unit = ["layer", "channel", "row", "column", "blank", "rf_x", "rf_y"]
    assert list(units) == ["name", "unit", *of_unit]
    assert list(units["name"]) == names
    for name in of_unit:
        read = units[name].values.astype(recorded[name].dtype)
        np.testing.assert_array_equal(read, recorded[name].values)

    about = json.loads((tmp_path / "recording.attributes.json").read_text(encoding="utf-8"))
    assert about["attributes"] == recorded.attrs
    assert about["columns"]["rf_x"] == UNIT_ATTRIBUTES["rf_x"]
    assert about["columns"]["response"] == recorded["response"].attrs


@pytest.mark.usefixtures("blocks")
def test_parquet_has_a_row_per_stimulus_and_unit(stored: Path | xr.Dataset, tmp_path: Path) -> None:
    recorded = recording()
    path = export(stored, tmp_path / "recording.parquet")
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pandas()
    assert len(rows) == STIMULI * UNITS
    coordinates = {str(name) for name in [*recorded.coords, "blank"]}
    assert set(rows) == {"stimulus", "unit", "response", *coordinates}
    assert list(rows)[:2] == ["stimulus", "family"]
    assert list(rows)[-1] == "response"
    stimulus, unit = np.mgrid[:STIMULI, :UNITS].reshape(2, -1)
    np.testing.assert_array_equal(rows["stimulus"], stimulus)
    np.testing.assert_array_equal(rows["unit"], unit)
    for name in coordinates:
        index = {"stimulus": stimulus, "unit": unit}[str(recorded[name].dims[0])]
        expected = recorded[name].values[index]
        assert rows[name].isna().sum() == pd.isna(expected).sum()
        read = rows[name].values.astype(expected.dtype)
        np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(
        bits(rows["response"].values), bits(recorded["response"].values.ravel())
    )
    # A parameter that a family does not have is missing, for those who tell that from NaN.
    assert table["envelope_sd"].null_count == 6 * UNITS

    assert json.loads(table.schema.metadata[b"ephys"]) == recorded.attrs
    assert table.field("rf_x").metadata[b"units"] == b"degree"


def test_a_block_of_stimuli_is_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ephys.export.BLOCK_VALUES", 3 * UNITS + 1)
    file = pyarrow.parquet.ParquetFile(export(recording(), tmp_path / "recording.parquet"))
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sizes == [3 * UNITS, 3 * UNITS, 3 * UNITS, 2 * UNITS]


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_more_than_a_block_is_ever_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ephys.export.BLOCK_VALUES", 3 * UNITS)
    recorded = recording()
    path = tmp_path / "store"
    create_store(path, recorded.drop_vars("response"), chunk=1)[:] = recorded["response"].values
    whole: Any = xr.Variable.values
    read = []

    def values(variable: xr.Variable) -> np.ndarray:
        if variable.ndim == 2:
            read.append(variable.shape)
        return whole.fget(variable)

    monkeypatch.setattr(xr.Variable, "values", property(values))
    export(path, tmp_path / f"recording{suffix}")
    assert read == [(3, UNITS)] * 3 + [(2, UNITS)]


def test_a_coordinate_of_all_stimuli_is_an_attribute_of_a_table(tmp_path: Path) -> None:
    recorded = recording().assign_coords(contrast=0.5)
    export(recorded, tmp_path / "recording.csv")
    about = json.loads((tmp_path / "recording.attributes.json").read_text(encoding="utf-8"))
    assert about["attributes"] == {"contrast": 0.5, **recorded.attrs}


def test_stimuli_that_have_numbers_keep_them(tmp_path: Path) -> None:
    numbers = np.arange(STIMULI) + 100
    path = export(recording().assign_coords(stimulus=numbers), tmp_path / "recording.csv")
    np.testing.assert_array_equal(pd.read_csv(path)["stimulus"], numbers)


def test_attributes_as_netcdf_gives_them_are_written_as_plain_numbers(tmp_path: Path) -> None:
    path = export(recording().assign_attrs(sizes=[1, 2]), tmp_path / "recording.nc")
    with xr.open_dataset(path) as opened:
        assert isinstance(opened.attrs["seed"], np.integer)
        export(opened, tmp_path / "again.csv")
    about = json.loads((tmp_path / "again.attributes.json").read_text(encoding="utf-8"))
    assert about["attributes"] == {**recording().attrs, "sizes": [1, 2]}


# Names of units.


def unit_columns(recorded: xr.Dataset, folder: Path) -> list[str]:
    columns = pd.read_csv(export(recorded, folder / "recording.csv")).columns
    return list(columns[-UNITS:])


def test_units_of_a_channel_are_told_apart_by_their_position(tmp_path: Path) -> None:
    recorded = recording().assign_coords(
        layer=("unit", ["conv"] * UNITS),
        channel=("unit", [2] * UNITS),
        row=("unit", [0.0, 0, 1, 10]),
        column=("unit", [0.0, 1, 0, 0]),
    )
    expected = ["conv:2:0:0", "conv:2:0:1", "conv:2:1:0", "conv:2:10:0"]
    assert unit_columns(recorded, tmp_path) == expected


def test_units_that_nothing_tells_apart_are_numbered(tmp_path: Path) -> None:
    numbered = [f"unit:{unit}" for unit in range(UNITS)]
    assert unit_columns(recording().drop_vars("layer"), tmp_path) == numbered
    alike = recording().isel(unit=[0] * UNITS)
    assert unit_columns(alike, tmp_path) == numbered


# What is refused.


@pytest.mark.parametrize("name", ["recording", "recording.xlsx", "recording.nc.txt"])
def test_another_format_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^{name} ends in none of .nc, .csv, .parquet"):
        export(recording(), tmp_path / name)


def test_capitals_in_a_suffix_are_the_same_format(tmp_path: Path) -> None:
    path = export(recording(), tmp_path / "RECORDING.CSV")
    assert len(pd.read_csv(path)) == STIMULI


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere is no folder; make it first"):
        export(recording(), tmp_path / "nowhere" / "recording.csv")


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere holds no recorded responses"):
        export(tmp_path / "nowhere", tmp_path / "recording.csv")


def test_a_recording_of_nothing_is_refused(tmp_path: Path) -> None:
    for dim in ("stimulus", "unit"):
        with pytest.raises(ValueError, match="no responses to export: no stimulus, or no unit"):
            export(recording().isel({dim: slice(0)}), tmp_path / "recording.csv")


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_recording_that_is_not_finished_is_refused_and_leaves_the_file_of_before(
    suffix: str, tmp_path: Path
) -> None:
    path = export(recording(), tmp_path / f"recording{suffix}")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    unfinished = recording()
    unfinished["response"][7:] = np.nan
    with pytest.raises(ValueError, match=r"^stimulus 7 of 11 was not recorded; finish the reco"):
        export(unfinished, path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    # What was recorded can be had.
    export(unfinished.dropna("stimulus", how="all", subset=["response"]), path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} != before
    assert set(tmp_path.iterdir()) == set(before)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_a_table_has_no_place_for_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    more = recording().assign(spectrum=(("unit", "frequency"), np.ones((UNITS, 5))))
    with pytest.raises(ValueError, match=r"no place for spectrum \(unit, frequency\); write .nc"):
        export(more, tmp_path / f"recording{suffix}")
    repeated = recording().expand_dims(repeat=2)
    with pytest.raises(ValueError, match=r"no place for \w+ \(repeat, "):
        export(repeated, tmp_path / f"recording{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_was_measured_of_the_stimuli_has_columns_of_its_own(
    suffix: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    measured = rng.uniform(size=(STIMULI, 3))
    measured[:, 1] = np.nan
    measured[2, 2] = np.nan
    shown = recording().assign(measured=(("stimulus", "quantity"), measured))
    shown = shown.assign_coords(
        quantity=["contrast", "diameter", "size"], unit_of=("quantity", ["1", "degree", "degree"])
    )
    path = export(shown, tmp_path / f"recording{suffix}")
    if suffix == ".csv":
        table = pd.read_csv(path)
        columns = json.loads(path.with_suffix(".attributes.json").read_text())["columns"]
        about = {name: columns[name]["unit_of"] for name in columns if ":" in name}
    else:
        table = pd.read_parquet(path).drop_duplicates("stimulus")
        fields = pyarrow.parquet.read_schema(path)
        about = {
            name: fields.field(name).metadata[b"unit_of"].decode()
            for name in fields.names
            if ":" in name
        }
    assert about == {"measured:contrast": "1", "measured:size": "degree"}
    for place, name in ((0, "contrast"), (2, "size")):
        np.testing.assert_array_equal(table[f"measured:{name}"], measured[:, place])
    parameters = ["stimulus", "family", "colored", "envelope_sd", "orientation", "seed"]
    assert list(table)[:8] == [*parameters, *about]


def quantities(**about: Any) -> xr.Dataset:
    """A recording with two measured quantities, without their names."""
    measured = np.random.default_rng(5).uniform(size=(STIMULI, 2))
    return recording().assign(measured=(("stimulus", "quantity"), measured, about))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_was_measured_may_be_stored_in_either_order(suffix: str, tmp_path: Path) -> None:
    shown = quantities().assign_coords(quantity=["contrast", "size"])
    files = [
        export(one, tmp_path / f"{name}{suffix}")
        for name, one in (("one", shown), ("other", shown.transpose("quantity", ...)))
    ]
    assert shown.transpose("quantity", ...)["measured"].dims == ("quantity", "stimulus")
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_column_has_what_is_said_of_its_table_and_of_its_label(tmp_path: Path) -> None:
    units = np.array(["1", "degree"], object)  # words as objects, as pandas makes them
    shown = quantities(long_name="of the pixels", units="mixed").assign_coords(
        quantity=np.array(["contrast", "size"], object),
        units=("quantity", units),
        tolerance=("quantity", np.array([0.5, 1.0], np.float32)),
    )
    path = export(shown, tmp_path / "recording.csv")
    columns = json.loads(path.with_suffix(".attributes.json").read_text())["columns"]
    assert {name: columns[name] for name in columns if ":" in name} == {
        "measured:contrast": {"long_name": "of the pixels", "units": "1", "tolerance": 0.5},
        "measured:size": {"long_name": "of the pixels", "units": "degree", "tolerance": 1.0},
    }
    export(shown, tmp_path / "recording.parquet")
    field = pyarrow.parquet.read_schema(tmp_path / "recording.parquet").field("measured:size")
    assert field.metadata[b"units"] == b"degree"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_without_labels_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no place for measured \(stimulus, quantity\); write"):
        export(quantities(), tmp_path / f"recording{suffix}")


def test_netcdf_has_a_place_for_more(tmp_path: Path) -> None:
    more = recording().assign(spectrum=(("unit", "frequency"), np.ones((UNITS, 5))))
    repeated = xr.concat([more["response"]] * 2, "repeat").transpose("unit", "repeat", "stimulus")
    more["response"] = repeated
    path = export(more, tmp_path / "recording.nc")
    with xr.open_dataset(path) as opened:
        xr.testing.assert_identical(opened.load(), more)


def test_what_is_left_without_a_coordinate_still_has_its_dimension(tmp_path: Path) -> None:
    bare = recording()[["response"]].reset_coords(drop=True)
    path = export(bare, tmp_path / "recording.nc")
    with xr.open_dataset(path) as opened:
        xr.testing.assert_identical(opened.load(), bare)


@pytest.mark.parametrize("value", [None, True, {"a": 1}])
def test_an_attribute_that_netcdf_cannot_hold_is_refused_by_name(
    value: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no attribute like odd=.* of the recording; make it a n"):
        export(recording().assign_attrs(odd=value), tmp_path / "recording.nc")
    marked = recording()
    marked["blank"].attrs["odd"] = value
    with pytest.raises(ValueError, match=r"no attribute like odd=.* of blank; make it a number"):
        export(marked, tmp_path / "recording.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "package"),
    [(".nc", "netCDF4"), (".parquet", "pyarrow"), (".parquet", "pyarrow.parquet")],
)
def test_a_missing_package_is_named_with_the_way_to_install_it(
    suffix: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    expected = rf"needs {package.split('.')[0]}: pip install ephys\[export\]$"
    with pytest.raises(ModuleNotFoundError, match=expected):
        export(recording(), tmp_path / f"recording{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_interruption_leaves_nothing_behind(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(response: xr.Variable) -> Any:
        yield slice(0, 2), response.values[:2]
        assert [file for file in tmp_path.iterdir() if file.suffix == ".partial"]
        raise KeyboardInterrupt

    monkeypatch.setattr("ephys.export._blocks", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(recording(), tmp_path / f"recording{suffix}")
    assert list(tmp_path.iterdir()) == []
