"""Export: a recording in the formats that other programs read.

netCDF (``.nc``) holds all of it, exactly, and opens in xarray, MATLAB and R. CSV (``.csv``) is for
the eye and the spreadsheet, parquet (``.parquet``) for data frames and databases.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ephys.responses import DAMAGE, load, open_store

FIRST = ("stimulus", "unit", "family", "layer", "channel", "row", "column")  # of the columns
BLOCK_VALUES = 2**19  # responses that are read and written at a time, which bounds the memory


def export(store: str | Path | xr.Dataset, path: str | Path) -> Path:
    """Write a recording to a file whose suffix says the format, replacing the one of before.

    ``.nc`` is the dataset: ``xr.open_dataset`` gives back every value, coordinate and attribute.

    ``.csv`` is the table of a laboratory notebook: one row per stimulus, its parameters first, then
    what :mod:`ephys.verification` measured of it, in columns such as ``measured:contrast``, then a
    column per unit, named ``layer:channel``, and where a layer has several units of a channel
    ``layer:channel:row:column``. One row per stimulus *and* unit would repeat the parameters for
    every unit, in a file too long for a spreadsheet. Beside it, ``NAME.units.csv`` has one row per
    unit, which says where it is and what it answers to the blank, and ``NAME.attributes.json`` the
    attributes. An empty cell is NaN.

    ``.parquet`` is tidy, for those who filter and group: one row per stimulus and unit, with the
    parameters, the coordinates of the unit and the response. Repeated values take no room in it.
    NaN, of a parameter that a family of stimuli does not have, say, is null. The attributes are
    JSON in the schema's metadata under ``ephys``, those of a column in the field's.

    Neither table has a column for what was measured of no stimulus at all; netCDF has it.

    Stimuli are read and written in blocks, so for a store in chunks of stimuli, which is how they
    are recorded, memory does not grow with their number. A file appears only when it is complete.

    Parameters
    ----------
    store : folder of the responses to one protocol, or the dataset that :mod:`ephys.responses`
        describes.
    path : of the file.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError : for another suffix, for a recording that is not finished, and for one with what the
        format cannot hold.
    FileNotFoundError : if there is no such store, or no folder for the file.
    ModuleNotFoundError : without the package that writes the format.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path.name} ends in none of {', '.join(FORMATS)}, which can be written")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder; make it first")
    write, beside = FORMATS[path.suffix.lower()]
    responses = store if isinstance(store, xr.Dataset) else open_store(Path(store))
    load(responses.drop_vars("response"))
    if not responses["response"].size:
        raise ValueError("there are no responses to export: no stimulus, or no unit")
    with _replacing([path, *(path.with_suffix(ending) for ending in beside)]) as files:
        write(responses, *files)
    return path


def _write_netcdf(responses: xr.Dataset, path: Path) -> None:
    netcdf = _package("netCDF4")
    response = responses["response"].variable
    for name, attributes in {"the recording": responses.attrs, **_attributes(responses)}.items():
        for key, value in attributes.items():
            if value is None or isinstance(value, bool | dict):
                raise ValueError(
                    f"netCDF holds no attribute like {key}={value!r} of {name}; "
                    "make it a number or a string"
                )
    others = responses.drop_vars("response").drop_encoding()
    others.to_netcdf(path, engine="netcdf4")
    with netcdf.Dataset(path, "a") as file:
        for dim in set(response.dims) - set(file.dimensions):
            file.createDimension(dim, response.sizes[dim])
        kind = response.dtype.newbyteorder("=")
        written = file.createVariable("response", kind, response.dims, fill_value=False)
        written.setncatts(response.attrs)
        for rows, values in _blocks(response):
            written[tuple(rows if dim == "stimulus" else slice(None) for dim in response.dims)] = (
                values
            )


def _write_csv(responses: xr.Dataset, path: Path, units_path: Path, attributes_path: Path) -> None:
    responses = _in_columns(responses)
    stimuli, units = _tables(responses)
    names = _unit_names(units)
    pd.DataFrame({"name": names, **units}).to_csv(units_path, index=False)
    about = {"attributes": _all_attributes(responses), "columns": _attributes(responses)}
    attributes_path.write_text(_json(about, indent=2) + "\n", encoding="utf-8")
    parameters = pd.DataFrame(stimuli)
    with open(path, "w", newline="", encoding="utf-8") as file:
        for rows, values in _blocks(responses["response"].variable.transpose("stimulus", "unit")):
            answers = pd.DataFrame(values, parameters.index[rows], names)
            block = pd.concat([parameters[rows], answers], axis=1)
            block.to_csv(file, index=False, header=rows.start == 0)


def _write_parquet(responses: xr.Dataset, path: Path) -> None:
    arrow, parquet = _package("pyarrow"), _package("pyarrow.parquet")
    responses = _in_columns(responses)

    def column(values: np.ndarray) -> Any:
        if values.dtype.kind in "UOT":
            return arrow.array(
                values.astype(object), arrow.string(), from_pandas=True
            ).dictionary_encode()
        return arrow.array(values, from_pandas=True)  # NaN is null

    stimuli, units = (
        {name: column(values) for name, values in table.items()} for table in _tables(responses)
    )
    response = responses["response"].variable.transpose("stimulus", "unit")
    types = {name: values.type for name, values in {**stimuli, **units}.items()}
    types["response"] = arrow.from_numpy_dtype(response.dtype)
    attributes = _attributes(responses)
    fields = [
        arrow.field(name, kind, metadata={k: str(v) for k, v in attributes.get(name, {}).items()})
        for name, kind in types.items()
    ]
    schema = arrow.schema(fields, metadata={"ephys": _json(_all_attributes(responses))})
    with parquet.ParquetWriter(path, schema) as writer:
        for rows, values in _blocks(response):
            stimulus, unit = (
                arrow.array(index.ravel()) for index in np.mgrid[rows, : values.shape[1]]
            )
            block = [
                *(values.take(stimulus) for values in stimuli.values()),
                *(values.take(unit) for values in units.values()),
                column(values.ravel()),
            ]
            writer.write_table(arrow.Table.from_arrays(block, schema=schema), values.size)


FORMATS: dict[str, tuple[Callable[..., None], Sequence[str]]] = {
    ".nc": (_write_netcdf, ()),
    ".csv": (_write_csv, (".units.csv", ".attributes.json")),
    ".parquet": (_write_parquet, ()),
}


@contextmanager
def _replacing(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Files to write instead; if nothing fails they take the place of ``files``, the first last."""
    partial = [file.with_name(file.name + ".partial") for file in files]
    try:
        yield partial
        for written, file in reversed(list(zip(partial, files, strict=True))):
            written.replace(file)
    finally:
        for written in partial:
            written.unlink(missing_ok=True)


def _blocks(response: xr.Variable) -> Iterator[tuple[slice, np.ndarray]]:
    """Which stimuli, and their responses, until all have been.

    Raises
    ------
    ValueError : at a stimulus without any response.
    """
    count = response.sizes["stimulus"]
    step = max(1, BLOCK_VALUES // (response.size // count))
    others = tuple(axis for axis, dim in enumerate(response.dims) if dim != "stimulus")
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        try:
            values = response.isel(stimulus=rows).values
        except DAMAGE as error:
            raise ValueError(
                f"stimuli {rows.start} to {rows.stop - 1} are damaged ({error}); record them again "
                "with --resume, which replaces what is damaged only"
            ) from error
        missing = np.isnan(values).all(others)
        if missing.any():
            raise ValueError(
                f"stimulus {start + missing.argmax()} of {count} was not recorded; finish the "
                "recording with --resume, or export the stimuli that were"
            )
        yield rows, values


def _in_columns(responses: xr.Dataset) -> xr.Dataset:
    """With a column for each label of what is a table of its own, ``measured:contrast``.

    What is said of a label is an attribute of its columns, which are left out if they are empty.
    """
    columns, gone = {}, set()
    for dim in responses.dims:
        about = {str(n): c for n, c in responses.coords.items() if c.dims == (dim,) and n != dim}
        either = (("stimulus", dim), (dim, "stimulus"))
        tables = [str(n) for n, v in responses.items() if v.dims in either]
        if dim == "unit" or dim not in responses.coords or not tables:
            continue
        gone |= {dim, *about, *tables}
        for name in tables:
            table = responses[name].transpose(dim, "stimulus")
            rows = table.values
            for place, label in enumerate(responses[dim].values):
                if not pd.isna(rows[place]).all():
                    said = {n: _plain(c.values[place]) for n, c in about.items()}
                    columns[f"{name}:{label}"] = ("stimulus", rows[place], {**table.attrs, **said})
    return responses.drop_vars(gone).assign(columns)


def _plain(value: Any) -> Any:
    """A number or word of Python, which an array of objects holds already."""
    return value.item() if isinstance(value, np.generic) else value


def _tables(responses: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What there is of each stimulus, and of each unit, by name: ``FIRST``, then as ``_last``.

    Raises
    ------
    ValueError : for what is of neither.
    """
    tables: dict[tuple[Any, ...], dict[str, np.ndarray]] = {
        (dim,): {dim: np.arange(responses.sizes[dim], dtype=np.int32)}
        for dim in ("stimulus", "unit")
    }
    for name, variable in responses.variables.items():
        if variable.dims in tables:
            tables[variable.dims][str(name)] = variable.values
        elif variable.dims and (name != "response" or set(variable.dims) != {"stimulus", "unit"}):
            dims = ", ".join(map(str, variable.dims))
            raise ValueError(f"a table has no place for {name} ({dims}); write .nc, or drop it")
    stimuli, units = (
        {
            name: table[name]
            for name in [*(n for n in FIRST if n in table), *sorted(table, key=_last)]
        }
        for table in tables.values()
    )
    return stimuli, units


def _last(name: str) -> tuple[bool, str]:
    """By the alphabet, and what was measured of the stimuli after their parameters."""
    return ":" in name, name


def _unit_names(units: dict[str, np.ndarray]) -> list[str]:
    """The shortest name that tells every unit from the others."""
    for parts in (["layer", "channel"], ["layer", "channel", "row", "column"]):
        if set(parts) <= set(units):
            columns = [units[part].tolist() for part in parts]
            names = [":".join(map(_short, place)) for place in zip(*columns, strict=True)]
            if len(set(names)) == len(names):
                return names
    return [f"unit:{unit}" for unit in units["unit"]]


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _attributes(responses: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Of each variable that has any."""
    return {str(name): v.attrs for name, v in sorted(responses.variables.items()) if v.attrs}


def _all_attributes(responses: xr.Dataset) -> dict[str, Any]:
    """Of the recording; a coordinate with one value for all is one of them."""
    alike = {str(name): v.values.item() for name, v in responses.variables.items() if not v.dims}
    return {**alike, **responses.attrs}


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, default=lambda numpy_value: numpy_value.tolist())


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        raise ModuleNotFoundError(
            f"this format needs {package}: pip install ephys[export]"
        ) from error
