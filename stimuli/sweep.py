"""Sets of stimuli: a table of parameters, drawn only when and where it is looked at."""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.stimuli.gratings import check_gabor, check_grating, gabor, grating
from ephys.stimuli.noises import (
    check_sparse_noise,
    check_white_noise,
    sparse_noise,
    sparse_noise_pixels,
    white_noise,
    white_noise_pixels,
)
from ephys.visual_field import VisualField

UNITS = {
    "orientation": "degree",
    "spatial_frequency": "cycles degree-1",
    "phase": "degree",
    "contrast": "1",
    "mean_luminance": "1",
    "envelope_sd": "degree",
    "seed": "1",
    "check_size": "degree",
    "diameter": "degree",
    "x": "degree",
    "y": "degree",
    "polarity": "1",
}
PERIODS = {"orientation": 180, "phase": 360}  # degrees
DRAW: dict[str, Callable[..., Tensor]] = {
    "grating": grating,
    "gabor": gabor,
    "white_noise": white_noise,
    "sparse_noise": sparse_noise,
}
CHECK: dict[str, Callable[..., None]] = {
    "grating": check_grating,
    "gabor": check_gabor,
    "white_noise": check_white_noise,
    "sparse_noise": check_sparse_noise,
}
# Of the families made of checks: how many pixels a pixel shares its check with.
PIXELS: dict[str, Callable[..., np.ndarray]] = {
    "white_noise": white_noise_pixels,
    "sparse_noise": sparse_noise_pixels,
}


@dataclass(frozen=True)
class StimulusSet:
    """Stimuli as a table, one row each, and a pure function that draws them on a field.

    ``table`` has the dimension ``stimulus``; its variable ``family`` names the drawing function
    (``"grating"``, ``"white_noise"``), the others are all of that function's parameters, NaN where
    a family has no such parameter. ``len()`` and ``+`` give what they give for a list,
    and a slice, indices or a mask give a set.
    """

    table: xr.Dataset

    def __len__(self) -> int:
        return self.table.sizes["stimulus"]

    def __getitem__(self, which: slice | ArrayLike) -> "StimulusSet":
        if not isinstance(which, slice) and np.ndim(which) == 0:
            raise TypeError("a set is indexed with a slice, indices or a mask; [i : i + 1] is one")
        return StimulusSet(self.table.isel(stimulus=which))

    def __add__(self, other: "StimulusSet") -> "StimulusSet":
        tables = [self.table, other.table]
        return StimulusSet(xr.concat(tables, "stimulus", join="outer", data_vars="all"))

    def render(self, field: VisualField, *, device: torch.device | str = "cpu") -> Tensor:
        """Draw every stimulus of the set: float32 in [0, 1], (stimulus, channel, y, x).

        Raises
        ------
        ValueError : for a stimulus that the field cannot show as asked.
        """
        images = torch.empty(len(self), 1, field.height_px, field.width_px, device=device)
        for family, rows, parameters in self._families():
            images[torch.from_numpy(rows)] = DRAW[family](field, **parameters, device=device)
        return images

    def check(self, field: VisualField) -> None:
        """Refuse, with a ValueError, a set of which ``render`` would refuse a part."""
        for family, _, parameters in self._families():
            CHECK[family](field, **parameters)

    def check_pixels(self, field: VisualField) -> np.ndarray:
        """How many of the field's pixels are in the check of each pixel: (stimulus, y, x).

        0 where a stimulus is grey.

        Raises
        ------
        ValueError : for stimuli that are not made of checks.
        """
        pixels = np.empty((len(self), field.height_px, field.width_px), int)
        for family, rows, parameters in self._families():
            if family not in PIXELS:
                raise ValueError(
                    f"a {family} is not made of checks; these families are: {', '.join(PIXELS)}"
                )
            pixels[rows] = PIXELS[family](field, **parameters)
        return pixels

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters that any stimulus has, in alphabetical order."""
        return sorted({name for *_, parameters in self._families() for name in parameters})

    @property
    def sha256(self) -> str:
        """Identifies the set: a hash of every family and parameter, in order."""
        described = {
            family: [rows.tolist(), {name: values.tolist() for name, values in parameters.items()}]
            for family, rows, parameters in self._families()
        }
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def _families(self) -> Iterable[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
        """Each family with its rows and its own parameters."""
        families = self.table["family"].values
        for family in dict.fromkeys(families.tolist()):
            rows = np.flatnonzero(families == family)
            names = sorted(_defaults(DRAW[family]))
            yield family, rows, {name: self.table[name].values[rows] for name in names}


def sweep(family: Callable[..., Tensor], **axes: ArrayLike) -> StimulusSet:
    """Every combination of the given values, the last axis running fastest.

    Parameters
    ----------
    family : the drawing function, :func:`grating` or :func:`white_noise`, say.
    axes : for its parameters a number, or the values to go through; the others have the
        function's default.

    Raises
    ------
    KeyError : for a function or a parameter that is not known, and for a parameter without
        default that is missing.
    ValueError : for an axis without values, with one twice (0 and 180 degrees are one
        orientation), or with one that is no number.

    Examples
    --------
    >>> stimuli = sweep(grating, orientation=range(0, 180, 15), spatial_frequency=2, phase=[0, 90])
    >>> len(stimuli)
    24
    """
    name = getattr(family, "__name__", str(family))
    if DRAW.get(name) is not family:
        raise KeyError(f"{name!r} is no family of stimuli; there are {', '.join(DRAW)}")
    defaults = _defaults(family)
    if unknown := [axis for axis in axes if axis not in defaults]:
        known = ", ".join(defaults)
        raise KeyError(f"{unknown[0]!r} is no parameter of a {name}; it has {known}")
    given = {**defaults, **axes}
    if missing := [axis for axis, value in given.items() if value is None]:
        raise KeyError(f"a {name} needs {', '.join(missing)}")
    values = {axis: np.atleast_1d(np.asarray(value, float)) for axis, value in given.items()}
    for axis, value in values.items():
        if value.size == 0 or np.unique(value).size < value.size:
            raise ValueError(f"{axis}={value.tolist()} is empty, or has a value twice")
        if not np.isfinite(value).all():
            raise ValueError(f"{axis}={value.tolist()} holds one that is not a number")
        if axis in PERIODS and np.unique(value % PERIODS[axis]).size < value.size:
            raise ValueError(
                f"{axis}={value.tolist()} comes around the circle of {PERIODS[axis]} degrees to a "
                "value that it has already; leave out one end"
            )
    order = [*(axis for axis in values if axis not in axes), *axes]
    mesh = np.meshgrid(*(values[axis] for axis in order), indexing="ij")
    columns = {
        axis: ("stimulus", grid.ravel(), {"units": UNITS[axis], "long_name": _long_name(axis)})
        for axis, grid in zip(order, mesh, strict=True)
    }
    families = ("stimulus", np.full(mesh[0].size, name))
    return StimulusSet(xr.Dataset({"family": families, **columns}))


def blank(mean_luminance: float = 0.5) -> StimulusSet:
    """The grey field, as a set of one: a grating of no contrast."""
    return sweep(grating, spatial_frequency=0, contrast=0, mean_luminance=mean_luminance)


def _long_name(parameter: str) -> str:
    return parameter.replace("_", " ")


def _defaults(family: Callable[..., Tensor]) -> dict[str, float | None]:
    """The parameters of a drawing function with their defaults, None where there is none."""
    found = inspect.signature(family).parameters
    return {
        name: None if found[name].default is inspect.Parameter.empty else found[name].default
        for name in found
        if name in UNITS
    }
