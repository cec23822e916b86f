"""Responses: what the units of a model answered, as labelled arrays in memory and on disk.

A store is one xarray dataset with ``response (stimulus, unit)``, NaN where nothing was recorded
yet, and ``blank (unit)``, the response to the mean luminance. Coordinates of ``stimulus`` are the
stimuli's parameters; of ``unit``: ``layer``, ``channel``, ``row``, ``column``, and the centre of
its receptive field ``rf_x``, ``rf_y`` in degrees. Row, column and centre are NaN for a unit that
pools over positions. Attributes are numbers and short strings: the provenance.
"""

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import ArrayLike
from zarr.abc.store import Store

UNIT_ATTRIBUTES = {
    "rf_x": {"units": "degree", "long_name": "receptive field, right of the centre"},
    "rf_y": {"units": "degree", "long_name": "receptive field, above the centre"},
}
ZARR_FORMAT: Literal[2] = 2  # strings of a fixed length are not in the specification of format 3


def grid(responses: xr.Dataset, *parameters: str) -> xr.DataArray:
    """Lay the stimuli out along their parameters: ``(*parameters, unit)``.

    Parameters
    ----------
    responses : with ``response (stimulus, unit)``.
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
    response = responses["response"].transpose("stimulus", "unit")
    ordered = response.values[np.argsort(flat)].reshape(*shape, -1)
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


def create_store(path: Path | Store, dataset: xr.Dataset, *, chunk: int) -> zarr.Array:
    """Write everything but the responses, and make room for them, a chunk of stimuli at a time.

    A folder appears only when it is complete, and then replaces the one of before.

    Returns
    -------
    The array (stimulus, unit), all NaN, to be filled.
    """
    place = path.with_name(path.name + ".partial") if isinstance(path, Path) else path
    dataset.to_zarr(place, mode="w", zarr_format=ZARR_FORMAT, consolidated=False)
    shape = (dataset.sizes["stimulus"], dataset.sizes["unit"])
    zarr.open_group(place, mode="r+", zarr_format=ZARR_FORMAT).create_array(
        "response",
        shape=shape,
        chunks=(min(chunk, shape[0]), shape[1]),
        dtype="float32",
        fill_value=np.nan,
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
    return _response_array(path)


def reopen_store(path: Path, about: dict[str, str | float]) -> zarr.Array:
    """The responses of an interrupted recording, to be filled further.

    Raises
    ------
    ValueError : if it is not the recording that ``about`` tells of, naming the first difference.
    """
    before = open_store(path).attrs
    for name, value in about.items():
        if before.get(name) != value:
            raise ValueError(
                f"{path} was recorded with {name}={before.get(name)!r}, not {value!r}; "
                "overwrite it, or choose another place"
            )
    return _response_array(path)


def open_store(path: Path | Store) -> xr.Dataset:
    """Open the responses of a store, read only when they are used.

    Raises
    ------
    FileNotFoundError : if there is none.
    """
    if isinstance(path, Path) and not (path / ".zgroup").is_file():
        raise FileNotFoundError(f"{path} holds no recorded responses")
    return xr.open_zarr(path, consolidated=False, chunks=None)


def unit_coordinates(
    layer: str, channels: int, *, row: float, column: float, rf_x: float, rf_y: float
) -> dict[str, ArrayLike]:
    """One unit per channel, all at one place."""
    return {
        "layer": [layer] * channels,
        "channel": np.arange(channels),
        "row": np.full(channels, row, float),
        "column": np.full(channels, column, float),
        "rf_x": np.full(channels, rf_x, float),
        "rf_y": np.full(channels, rf_y, float),
    }


def _response_array(path: Path | Store) -> zarr.Array:
    return zarr.open_array(path, path="response", mode="r+", zarr_format=ZARR_FORMAT)
