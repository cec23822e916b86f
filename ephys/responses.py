"""Responses: what the units of a model answered, as labelled arrays in memory and on disk.

A store is one xarray dataset with ``response (stimulus, unit)``, NaN where nothing was recorded
yet, and ``blank (unit)``, the response to the mean luminance. Coordinates of ``stimulus`` are the
stimuli's parameters; of ``unit``: ``layer``, ``channel``, ``row``, ``column``, and of its receptive
field the centre ``rf_x``, ``rf_y`` and the size ``rf_width``, ``rf_height``, in degrees. All but
layer and channel are NaN for a unit that pools over positions. Attributes are numbers and short
strings: the provenance.
"""

import shutil
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from numcodecs import CRC32, Blosc
from zarr.abc.store import Store

UNIT_ATTRIBUTES = {
    "rf_x": {"units": "degree", "long_name": "receptive field, right of the centre"},
    "rf_y": {"units": "degree", "long_name": "receptive field, above the centre"},
    "rf_width": {"units": "degree", "long_name": "width of the receptive field"},
    "rf_height": {"units": "degree", "long_name": "height of the receptive field"},
}
BLOCK_VALUES = 2**22  # responses in a block of units, where grid has to choose one
# The checksum comes last, so that it is of every byte on the disk.
CODECS: dict[str, Any] = {"filters": (Blosc(), CRC32()), "compressors": None}
DAMAGE = (RuntimeError, ValueError, OSError)  # what codecs raise for bytes that they did not write
ZARR_FORMAT: Literal[2] = 2  # strings of a fixed length are not in the specification of format 3


def grid(responses: xr.Dataset, *parameters: str) -> xr.DataArray:
    """Lay the stimuli out along their parameters: ``(*parameters, unit)``.

    Dask arrays stay dask arrays: of the stimuli the parameters are read, the responses are not.

    Parameters
    ----------
    responses : with ``response (stimulus, unit)``. If that is a dask array in chunks of stimuli, it
        is divided into blocks of units instead, for which all of it passes through memory;
        ``open_store(path, chunks={"unit": ...})`` reads blocks of units from the start.
    parameters : coordinates of ``stimulus`` that tell every stimulus from the others.

    Raises
    ------
    KeyError : for a name that is no parameter of the stimuli.
    ValueError : if two stimuli share a place, or a place has none.
    """
    stimulus_coordinates = [
        str(name) for name, c in responses.coords.items() if c.dims == ("stimulus",)
    ]
    for name in parameters:
        if name not in stimulus_coordinates:
            known = ", ".join(stimulus_coordinates)
            raise KeyError(f"{name!r} is no parameter of these stimuli; there are {known}")
    axes, places = {}, []
    for name in parameters:
        axes[name], place = np.unique(responses[name].values, return_inverse=True)
        places.append(place)
    shape = tuple(len(axis) for axis in axes.values())
    flat = np.ravel_multi_index(places, shape) if shape else np.zeros(len(responses.stimulus), int)
    counts = np.bincount(flat, minlength=int(np.prod(shape)))
    if counts.max() > 1:
        twice = flat == counts.argmax()
        others = [
            name
            for name in stimulus_coordinates
            if name not in parameters and np.unique(responses[name].values[twice]).size > 1
        ]
        way_out = f"name also: {', '.join(others)}" if others else "they are the same"
        raise ValueError(f"{counts.max()} stimuli share one place; {way_out}")
    if counts.min() < 1:
        missing = np.unravel_index(counts.argmin(), shape)
        where = ", ".join(f"{n}={axes[n][i]}" for n, i in zip(parameters, missing, strict=True))
        raise ValueError(f"no stimulus with {where}; select a complete grid first")
    response = responses["response"].variable.transpose("stimulus", "unit")
    if len(response.chunksizes.get("stimulus", ())) > 1:
        units = min(max(response.chunksizes["unit"]), max(1, BLOCK_VALUES // len(flat)))
        response = response.chunk({"stimulus": -1, "unit": units})
    ordered = response.data[np.argsort(flat)].reshape(*shape, -1)
    coordinates = {name: (name, axes[name], responses[name].attrs) for name in parameters} | {
        name: c for name, c in responses.coords.items() if c.dims == ("unit",)
    }
    return xr.DataArray(
        ordered, coordinates, (*parameters, "unit"), name="response", attrs=response.attrs
    )


def varied_parameters(responses: xr.Dataset) -> list[str]:
    """The numerical parameters of the stimuli that take more than one value, alphabetically.

    Raises
    ------
    ValueError : if the stimuli are of more than one family.
    """
    families = np.unique(responses["family"].values) if "family" in responses.coords else [""]
    if len(families) > 1:
        raise ValueError(f"stimuli of {len(families)} families ({', '.join(families)}); select one")
    return sorted(
        str(name)
        for name, c in responses.coords.items()
        if c.dims == ("stimulus",) and c.dtype.kind in "fiu" and np.unique(c.values).size > 1
    )


def blocks(responses: xr.Dataset) -> Iterator[xr.Dataset]:
    """Numpy arrays in blocks of units, which bounds the memory; dask arrays whole."""
    units, stimuli = responses.sizes["unit"], responses.sizes["stimulus"]
    size = units if responses["response"].chunks else BLOCK_VALUES // max(stimuli, 1)
    for start in range(0, max(units, 1), max(size, 1)):
        yield responses.isel(unit=slice(start, start + max(size, 1)))


def stimulus_origins(responses: xr.Dataset) -> np.ndarray:
    """Where on the field each unit's stimuli were centred, degrees: (2, unit)."""
    units = responses.sizes["unit"]
    readout, centered = responses.attrs.get("readout"), responses.attrs.get("centered", 1)
    if readout == "map" or not centered or "rf_x" not in responses.coords:
        return np.zeros((2, units))
    centers = np.stack([responses["rf_x"].values, responses["rf_y"].values])
    return np.where(np.isfinite(centers).all(0), centers, 0)


def create_store(path: Path | Store, dataset: xr.Dataset, *, chunk: int) -> zarr.Array:
    """Write everything but the responses, and make room for them, a chunk of stimuli at a time.

    A folder appears only when it is complete, and then replaces the one of before.

    Returns
    -------
    The array (stimulus, unit), all NaN, to be filled.

    Raises
    ------
    OSError : if it cannot be written.
    """
    place = path.with_name(path.name + ".partial") if isinstance(path, Path) else path
    shape = (dataset.sizes["stimulus"], dataset.sizes["unit"])
    try:
        dataset.to_zarr(
            place,
            mode="w",
            zarr_format=ZARR_FORMAT,
            consolidated=False,
            encoding=dict.fromkeys(dataset.variables, CODECS),
            write_empty_chunks=True,  # so that a chunk that is not there is one that was lost
        )
        zarr.open_group(place, mode="r+", zarr_format=ZARR_FORMAT).create_array(
            "response",
            shape=shape,
            chunks=(min(chunk, shape[0]), shape[1]),
            dtype="float32",
            fill_value=np.nan,
            **CODECS,
            attributes={
                "_ARRAY_DIMENSIONS": ["stimulus", "unit"],
                "long_name": "response",
                "units": "1",
            },
        )
        if isinstance(path, Path) and isinstance(place, Path):
            if path.exists():
                shutil.rmtree(path)
            place.rename(path)
    except OSError as error:
        raise _refusal(error, path, "the store cannot be created") from error
    return _response_array(path)


def reopen_store(path: Path | Store, about: Mapping[str, str | float]) -> zarr.Array:
    """The responses of a recording, to be filled further.

    Raises
    ------
    ValueError : if it is not the recording that ``about`` tells of, naming the first difference,
        and if something else of it than responses is damaged.
    """
    before = open_store(path)
    for name, value in about.items():
        if before.attrs.get(name) != value:
            raise ValueError(
                f"{path} was recorded with {name}={before.attrs.get(name)!r}, not {value!r}; "
                "overwrite it, or choose another place"
            )
    load(before.drop_vars("response"))
    if isinstance(path, Path):
        for torso in (path / "response").glob("*.partial"):  # of a write that was killed
            torso.unlink(missing_ok=True)
    return _response_array(path)


def is_recorded(array: zarr.Array, rows: slice) -> bool:
    """Whether a chunk of stimuli has been written; a damaged one has not, and is warned of."""
    try:
        return not np.isnan(array[rows]).all()
    except DAMAGE as error:
        warnings.warn(
            f"{_place(array)}: stimuli {rows.start} to {rows.stop - 1} are damaged "
            f"({_reason(error)}) and recorded anew",
            stacklevel=3,
        )
        return False


def write(array: zarr.Array, rows: slice, values: np.ndarray) -> None:
    """Write a chunk of stimuli, whole or not at all.

    Raises
    ------
    OSError : if it cannot be written, saying that what was before is kept.
    """
    try:
        array[rows] = values
    except OSError as error:
        what = f"stimuli {rows.start} to {rows.stop - 1} cannot be written"
        kept = "what was before is kept, and can be resumed"
        raise _refusal(error, _place(array), f"{what}; {kept}") from error


def load(responses: xr.Dataset) -> xr.Dataset:
    """Responses with all numbers in memory.

    Parameters
    ----------
    responses : from ``open_store``, or some units or stimuli of them.

    Raises
    ------
    ValueError : for a store of which a part is damaged, or missing, or not recorded yet.
    """
    source = responses.encoding.get("source")
    is_store = source is not None and (Path(source) / ".zgroup").is_file()
    arrays = dict(zarr.open_group(source, mode="r").arrays()) if is_store else {}
    for name, variable in responses.variables.items():
        try:
            variable.load()
        except DAMAGE as error:
            raise ValueError(_damage(source, name, _reason(error))) from error
        array = arrays.get(str(name))
        if array is not None and (missing := array.nchunks - array.nchunks_initialized):
            raise ValueError(_damage(source, name, f"{missing} of {array.nchunks} chunks missing"))
    return responses


def open_store(
    path: str | Path | Store, *, chunks: Mapping[str, int | Literal["auto"]] | None = None
) -> xr.Dataset:
    """Open the responses of a store, read only when they are used; variables by the alphabet.

    Parameters
    ----------
    path : of the responses to one protocol: ``RUN/responses.zarr/PROTOCOL``.
    chunks : sizes of the blocks in which the responses become a dask array, for stores larger than
        memory: ``{"unit": 1000}`` gives blocks of 1000 units with all their stimuli, as every
        measure wants them. By default the responses are a numpy array once they are used.

    Raises
    ------
    FileNotFoundError : if there is none.
    ValueError : for one whose metadata are damaged.
    ModuleNotFoundError : for chunks without dask.
    """
    path = Path(path) if isinstance(path, str) else path
    if isinstance(path, Path) and not (path / ".zgroup").is_file():
        places = [*path.glob("*/.zgroup"), *path.glob("responses.zarr/*/.zgroup")]
        stores = sorted(str(place.parent) for place in places)
        raise FileNotFoundError(
            f"{path} holds no recorded responses"
            + (f", but {' and '.join(stores)} do; open one of them" if stores else "")
        )
    try:
        opened = xr.open_zarr(path, consolidated=False, chunks=None)
        response = opened["response"].variable
    except (*DAMAGE, KeyError, TypeError) as error:
        raise ValueError(f"the metadata of {path} are damaged; overwrite it") from error
    names = sorted(map(str, opened.variables))  # which come in any order
    coords = [name for name in names if name in opened.coords]
    source = opened.encoding
    opened = opened.reset_coords()[names].set_coords(coords)
    opened.encoding = source
    if chunks is None:
        return opened
    if find_spec("dask") is None:
        raise ModuleNotFoundError("chunks need dask: pip install ephys[distributed]")
    return opened.assign(response=response.chunk(chunks))


def _response_array(path: Path | Store) -> zarr.Array:
    array = zarr.open_array(path, path="response", mode="r+", zarr_format=ZARR_FORMAT)
    return array.with_config({"write_empty_chunks": True})  # all NaN, say


def _place(array: zarr.Array) -> str:
    return str(array.store).removeprefix("file://")


def _refusal(error: OSError, place: object, what: str) -> OSError:
    return OSError(error.errno, f"{error.strerror or error}: {what}", str(place))


def _damage(source: str | None, name: object, reason: str) -> str:
    way_out = (
        "record it again with --resume, which replaces what is damaged only"
        if name == "response"
        else "overwrite it"
    )
    return f"{source or 'the store'}: {name} is damaged ({reason}); {way_out}"


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
