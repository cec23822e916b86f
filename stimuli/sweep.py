"""Sets of stimuli: a table of parameters, drawn only when and where it is looked at."""

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ephys.nearest import nearest
from ephys.stimuli.apertures import aperture, check_aperture
from ephys.stimuli.colors import (
    COLORS,
    LUMINANCE_WEIGHTS,
    difference,
    encode_srgb,
    largest_contrast,
)
from ephys.stimuli.families import FAMILIES, PARAMETERS, SHARED, SHARED_WORDS, WINDOW, WORDS, Family
from ephys.stimuli.gratings import grating
from ephys.stimuli.parameters import at_most, tensor
from ephys.visual_field import VisualField

DRAWN = 2**20  # pixels at a time, which caches hold
MOST = 10_000_000  # stimuli in a set: a table of more fills the memory
BEYOND = 1e-9  # of the largest contrast: what rounding may leave
KIND = {"family": "", "color": "luminance", "encoding": "linear"}  # and what holds where not said


@dataclass(frozen=True)
class StimulusSet:
    r"""Stimuli as a table, one row each, and a pure function that draws them on a field.

    Every stimulus is, in the linear light of an sRGB display,

    .. math:: \mathrm{rgb}(x, y) = L + w(x, y) \, m(x, y) \, D

    with L the ``mean_luminance``, a grey; w its aperture (:mod:`~ephys.stimuli.apertures`), if it
    has one; m the modulation that its family draws, which includes the contrast; and D what is
    added to the grey at full contrast: as much grey again, or a color
    (:func:`~ephys.stimuli.colors.difference`). These values are pixels, or with
    ``encoding="srgb"`` are encoded as sRGB to become pixels.

    ``table`` has the dimension ``stimulus``. Its variable ``family`` names the drawing function
    (``"grating"``, ``"white_noise"``); the others are parameters: numbers, NaN where the stimulus
    does not have or say them, and strings, empty where not said. What is not said has the default
    of ``PARAMETERS``. ``len()`` and ``+`` give what they give for a list, and a slice, indices or a
    mask give a set.
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
        names = dict.fromkeys([*tables[0].data_vars, *tables[1].data_vars])
        for i, table in enumerate(tables):
            count = table.sizes["stimulus"]
            missing = {name: _unsaid(str(name), count) for name in names if name not in table}
            tables[i] = table.assign(missing)
        return StimulusSet(xr.concat(tables, "stimulus", combine_attrs="override"))

    @property
    def fixed(self) -> bool:
        """Whether any stimulus is made for a screen of its own, and not to be moved."""
        return any(group.family.fixed for group in self.groups())

    @property
    def blank(self) -> "StimulusSet":
        """The grey field to which the stimuli are added, as a set of one.

        Raises
        ------
        ValueError : for stimuli on different backgrounds, and for a set of none.
        """
        greys = {
            (float(mean), group.encoding)
            for group in self.groups()
            for mean in np.unique(group.parameters["mean_luminance"])
        }
        if len(greys) != 1:
            what = ", ".join(f"{mean:g} ({encoding})" for mean, encoding in sorted(greys))
            raise ValueError(
                f"stimuli of mean_luminance={what} have no one blank; record them apart"
                if greys
                else "the set of stimuli is empty"
            )
        ((mean, encoding),) = greys
        return blank(mean_luminance=mean, encoding=encoding)

    @property
    def colored(self) -> bool:
        """Whether color is what any stimulus is made of."""
        return any(group.color != "luminance" for group in self.groups())

    @property
    def channels(self) -> int:
        """3 where any stimulus has color, photographs included, else 1."""
        return 3 if any(group.colored for group in self.groups()) else 1

    def render(
        self,
        field: VisualField,
        *,
        device: torch.device | str = "cpu",
        channels: int | None = None,
        check: bool = True,
    ) -> Tensor:
        """Draw every stimulus of the set: float32 in [0, 1], (stimulus, channel, y, x).

        Parameters
        ----------
        channels : 3 for red, green and blue, 1 for luminance; by default ``self.channels``.
        check : whether to refuse what cannot be shown; not needed again for a part of a set or of a
            field that was checked.

        Raises
        ------
        ValueError : for a stimulus that the field cannot show as asked.
        """
        if check:
            self.check(field)
        channels = channels or self.channels
        images = torch.empty(len(self), channels, field.height_px, field.width_px, device=device)
        step = max(1, DRAWN // (channels * field.height_px * field.width_px))
        for group in self.groups():
            for start in range(0, len(group.rows), step):
                part = group[start : start + step]
                rows = torch.from_numpy(part.rows).to(device)
                images[rows] = part.draw(field, channels, device)
        return images

    def check(self, field: VisualField) -> None:
        """Refuse, with a ValueError, a set of which ``render`` would refuse a part."""
        for group in self.groups():
            group.check(field)

    def movie(
        self, field: VisualField, times: ArrayLike, *, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw moving stimuli at some times: (stimulus, time, channel, y, x).

        Parameters are those of ``render`` and ``at``.
        """
        frames = self.at(times).render(field, device=device)
        return frames.reshape(len(self), np.size(times), *frames.shape[1:])

    def at(self, times: ArrayLike) -> "StimulusSet":
        """The frames of moving stimuli, for models that see one image at a time.

        Parameters
        ----------
        times : seconds.

        Returns
        -------
        Every stimulus at every time, the time running fastest.

        Raises
        ------
        ValueError : for stimuli that do not move, and for a time that is no number.
        """
        for family in np.unique(self.table["family"].values):
            if "time" not in _own(FAMILIES[family]):
                moving = [name for name, one in FAMILIES.items() if "time" in _own(one)]
                raise ValueError(f"a {family} does not move; there are {', '.join(moving)}")
        seconds = _numbers("time", times, 0.0)
        table = self.table.isel(stimulus=np.repeat(np.arange(len(self)), seconds.size))
        return StimulusSet(table.assign(time=_labelled("time", np.tile(seconds, len(self)))))

    def check_pixels(self, field: VisualField) -> np.ndarray:
        """How many of the field's pixels are in the check of each pixel: (stimulus, y, x).

        0 where a stimulus is grey.

        Raises
        ------
        ValueError : for stimuli that are not made of checks.
        """
        pixels = np.empty((len(self), field.height_px, field.width_px), int)
        for group in self.groups():
            if group.family.checks is None:
                made_of_checks = [name for name, f in FAMILIES.items() if f.checks is not None]
                raise ValueError(
                    f"a {group.name} is not made of checks; these families are: "
                    f"{', '.join(made_of_checks)}"
                )
            pixels[group.rows] = group.family.checks(field, **group.own)
        return pixels

    @property
    def parameters(self) -> list[str]:
        """Names of all that is said of any stimulus, but its family, in alphabetical order."""
        return sorted(
            str(name)
            for name, column in self.table.data_vars.items()
            if name != "family" and _said(column.values).any()
        )

    @property
    def sha256(self) -> str:
        """Identifies the set: a hash of every family and parameter, in order."""
        described = [
            [
                *(group.name, group.color, group.encoding, group.rows.tolist()),
                {name: values.tolist() for name, values in group.parameters.items()},
            ]
            for group in self.groups()
        ]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def groups(self) -> Iterator["Group"]:
        """The stimuli of each family, color system and encoding."""
        kinds = np.stack(
            [
                self._column(name, np.arange(len(self)), default).astype(str)
                for name, default in KIND.items()
            ],
            axis=1,
        )
        for kind in dict.fromkeys(map(tuple, kinds.tolist())):
            rows = np.flatnonzero((kinds == kind).all(1))
            family, color, encoding = kind
            parameters = {
                name: self._column(name, rows, default)
                for name, default in _parameters(family, color).items()
            }
            yield Group(family, color, encoding, rows, parameters)

    def _column(self, name: str, rows: np.ndarray, default: float | str | None) -> np.ndarray:
        if default is None:
            default = "" if name in WORDS else np.nan
        if name not in self.table:
            return np.full(rows.size, default)
        values = self.table[name].values[rows]
        return np.where(_said(values), values, default)


@dataclass(frozen=True)
class Group:
    """Stimuli that are drawn in one go: of one family, color system and encoding."""

    name: str
    color: str
    encoding: str
    rows: np.ndarray
    parameters: dict[str, np.ndarray]

    def __getitem__(self, which: slice) -> "Group":
        parameters = {name: values[which] for name, values in self.parameters.items()}
        return Group(self.name, self.color, self.encoding, self.rows[which], parameters)

    @property
    def family(self) -> Family:
        return FAMILIES[self.name]

    @property
    def colored(self) -> bool:
        return self.color != "luminance" or self.family.colored

    @property
    def own(self) -> dict[str, np.ndarray]:
        """What the family's function takes."""
        return {name: self.parameters[name] for name in _own(self.family)}

    @property
    def background(self) -> np.ndarray:
        return np.repeat(self.parameters["mean_luminance"][:, None], 3, axis=1)

    @property
    def difference(self) -> np.ndarray:
        """What is added to the background at full contrast: (stimulus, 3)."""
        if self.family.absolute:
            return np.ones((len(self.rows), 3))
        components = {name: self.parameters[name] for name in COLORS[self.color]}
        mean = self.parameters["mean_luminance"]
        return difference(self.color, mean, encoding=self.encoding, **components)

    @property
    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest modulation that the family draws."""
        if self.family.extremes is not None:
            return self.family.extremes(**self.own)
        return -self.parameters["contrast"], self.parameters["contrast"]

    def draw(self, field: VisualField, channels: int, device: torch.device | str) -> Tensor:
        """(stimulus, channel, y, x)."""
        drawn = self.family.draw(field, **self.own, device=device)
        if (window := self._window(field, device)) is not None:
            drawn = drawn.mul_(window if drawn.ndim == 3 else window[:, None])
        mean, weights = self.background, LUMINANCE_WEIGHTS
        if drawn.ndim == 4 and channels == 1:
            drawn = (drawn * tensor(weights, device)[:, None, None]).sum(1)
        if drawn.ndim == 3:
            added = self.difference
            if channels == 1:
                mean, added = mean[:, :1], added @ weights[:, None]
            if channels == 1 or not self.colored:
                drawn = drawn.mul_(tensor(added[:, :1], device)[:, :, None])[:, None]
            else:
                drawn = drawn[:, None] * tensor(added, device)[:, :, None, None]
        images = drawn.add(tensor(mean[:, : drawn.shape[1]], device)[:, :, None, None])
        images = images.clamp_(0, 1)  # only what rounding leaves beyond 0 or 1
        return encode_srgb(images) if self.encoding == "srgb" else images

    def _window(self, field: VisualField, device: torch.device | str) -> Tensor | None:
        """The aperture of each stimulus, or one for all if they are the same."""
        drawn = _own(self.family)  # a Gabor patch's envelope, say, is drawn already
        shape = {name: self.parameters[name] for name in WINDOW if name not in drawn}
        if not any(np.isfinite(values).any() for values in shape.values()):
            return None
        shape |= {name: self.parameters[name] for name in ("x", "y")}
        if all(_alike(values) for values in shape.values()):
            shape = {name: values[:1] for name, values in shape.items()}
        return aperture(field, **shape, device=device)

    def check(self, field: VisualField) -> None:
        for name, default in _parameters(self.name, self.color).items():
            if name in PARAMETERS:
                _check_range(name, self.parameters[name], default)
                if not self.family.fixed:
                    _check_nyquist(name, self.parameters[name], field)
        shape = ("diameter", "inner_diameter", "edge_width", "x", "y")
        check_aperture(field, **{name: self.parameters[name] for name in shape})
        if self.family.check is not None:
            self.family.check(field, **self.own)
        low, high = self.extremes
        fits = largest_contrast(self.background, self.difference, low, high)
        if (bad := fits < 1 - BEYOND).any():
            self._refuse(int(bad.argmax()), float(fits[bad.argmax()]))

    def _refuse(self, i: int, fits: float) -> None:
        contrasts = {
            name: values[i]
            for name, values in self.parameters.items()
            if name.endswith("contrast") and not np.isnan(values[i])
        }
        shown = [f"{name}={value:g}" for name, value in contrasts.items()]
        fitting = [f"{name}={at_most(value * fits)}" for name, value in contrasts.items()]
        around = [f"mean_luminance={self.parameters['mean_luminance'][i]:g}"]
        if self.color != "luminance":
            around.append(f"color={self.color!r}")
        around += [f"{name}={self.parameters[name][i]:g}" for name in COLORS[self.color]]
        raise ValueError(
            f"{', '.join(shown) or self.name} at {', '.join(around)} goes beyond what a display "
            f"shows; use at most {', '.join(fitting) or 'a part of it'}"
        )


def sweep(family: Callable[..., Tensor], **axes: ArrayLike) -> StimulusSet:
    """Every combination of the given values, the last axis running fastest.

    Parameters
    ----------
    family : the drawing function, :func:`grating` or :func:`white_noise`, say.
    axes : for its parameters, or those that every stimulus can have (``SHARED``, ``color`` with its
        components, ``encoding``), a value or the values to go through. What is not given has its
        default.

    Raises
    ------
    KeyError : for a function, a parameter or a word that is not known, and for a parameter without
        default that is missing.
    ValueError : for an axis without values, with one twice (0 and 180 degrees are one
        orientation), or with one that is no number.

    Examples
    --------
    >>> stimuli = sweep(grating, orientation=range(0, 180, 15), spatial_frequency=2, phase=[0, 90])
    >>> len(stimuli)
    24
    """
    name, values = _columns(family, axes)
    for axis, value in values.items():
        period = PARAMETERS[axis].period if axis in PARAMETERS else None
        if value.size == 0 or np.unique(value).size < value.size:
            raise ValueError(f"{axis}={value.tolist()} is empty, or has a value twice")
        if period and np.unique(value % period).size < value.size:
            raise ValueError(
                f"{axis}={value.tolist()} comes around the circle of {period} degrees to a value "
                "that it has already; leave out one end"
            )
    _check_count(math.prod(value.size for value in values.values()))
    mesh = np.meshgrid(*values.values(), indexing="ij")
    return _set(name, {axis: grid.ravel() for axis, grid in zip(values, mesh, strict=True)})


def paired(family: Callable[..., Tensor], **columns: ArrayLike) -> StimulusSet:
    """Stimuli one by one: the first has the first of all given values, and so on.

    Parameters
    ----------
    family, columns : as for :func:`sweep`; a single value holds for all.

    Raises
    ------
    KeyError : as in :func:`sweep`.
    ValueError : for columns of different lengths, or with a value that is no number.

    Examples
    --------
    >>> len(paired(grating, orientation=[0, 90], spatial_frequency=[1, 2]))
    2
    """
    name, values = _columns(family, columns)
    lengths = {column: value.size for column, value in values.items() if value.size != 1}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}")
    count = max(lengths.values(), default=1) if min(lengths.values(), default=1) else 0
    _check_count(count)
    return _set(name, {key: np.broadcast_to(value, count) for key, value in values.items()})


def blank(mean_luminance: float = 0.5, encoding: str = "linear") -> StimulusSet:
    """The grey field, as a set of one: a grating of no contrast."""
    return sweep(
        grating,
        spatial_frequency=0,
        contrast=0,
        mean_luminance=mean_luminance,
        encoding=encoding,
    )


def parameters_of(family: str, color: str = "luminance") -> dict[str, float | str | None]:
    """All parameters that a stimulus has, with their defaults, None where there is none."""
    return dict(_parameters(family, color))


def _columns(
    family: Callable[..., Tensor], given: dict[str, ArrayLike]
) -> tuple[str, dict[str, np.ndarray]]:
    """The family's name, and what is said of its stimuli: first defaults, then what is given."""
    name = getattr(family, "__name__", str(family))
    if name not in FAMILIES or FAMILIES[name].draw is not family:
        raise KeyError(f"{name!r} is no family of stimuli; there are {', '.join(FAMILIES)}")
    words = {word: _words(word, given[word]) for word in WORDS if word in given}
    known: dict[str, float | str | None] = {}
    for color in words.get("color", np.array(["luminance"])):
        known |= _parameters(name, str(color))
    allowed = [*known, *SHARED_WORDS]
    if unknown := [axis for axis in given if axis not in allowed]:
        raise KeyError(
            f"{unknown[0]!r} is no parameter of a {name}; did you mean "
            f"{nearest(unknown[0], allowed)}? There are {', '.join(allowed)}"
        )
    if missing := [axis for axis, value in known.items() if value is None and axis not in given]:
        raise KeyError(f"a {name} needs {', '.join(missing)}")
    values = {}
    for axis, default in known.items():
        silent = (axis in SHARED and axis != "mean_luminance") or default != default
        if axis not in given and not silent:
            values[axis] = np.atleast_1d(np.asarray(default))
    for axis, value in given.items():
        values[axis] = words[axis] if axis in words else _numbers(axis, value, known[axis])
    return name, values


def _check_count(count: int) -> None:
    if count > MOST:
        raise ValueError(f"{count:,} stimuli are more than {MOST:,}; show fewer values, or parts")


def _numbers(axis: str, value: ArrayLike, default: float | str | None) -> np.ndarray:
    try:
        numbers = np.atleast_1d(np.asarray(value, float))
    except (TypeError, ValueError):
        raise ValueError(f"{axis}={value!r} is no number, nor a list of numbers") from None
    optional = default is not None and default != default
    if not (np.isfinite(numbers) | (np.isnan(numbers) & optional)).all():
        raise ValueError(f"{axis}={numbers.tolist()} holds one that is not a number")
    return numbers


def _words(axis: str, value: ArrayLike) -> np.ndarray:
    words = np.atleast_1d(np.asarray(value, str))
    for word in np.unique(words).tolist():
        if WORDS[axis] and word not in WORDS[axis]:
            raise KeyError(f"{axis}={word!r} is none of {', '.join(WORDS[axis])}")
    return words


def _set(family: str, columns: dict[str, np.ndarray]) -> StimulusSet:
    count = len(next(iter(columns.values())))
    names = ("stimulus", np.full(count, family))
    return StimulusSet(
        xr.Dataset({"family": names, **{n: _labelled(n, values) for n, values in columns.items()}})
    )


def _labelled(name: str, values: np.ndarray) -> tuple[str, np.ndarray, dict[str, str]]:
    about = {"long_name": name.replace("_", " ")}
    if name in PARAMETERS:
        about = {"units": PARAMETERS[name].units, **about}
    return "stimulus", np.array(values), about


def _unsaid(name: str, count: int) -> tuple[str, np.ndarray, dict[str, str]]:
    return _labelled(name, np.full(count, "" if name in WORDS else np.nan))


def _said(values: np.ndarray) -> np.ndarray:
    return values != "" if values.dtype.kind in "UO" else ~np.isnan(values)


def _own(family: Family) -> list[str]:
    """The parameters that a family's function takes."""
    return [
        name
        for name in inspect.signature(family.draw).parameters
        if name not in ("field", "device")
    ]


@cache
def _parameters(family: str, color: str) -> dict[str, float | str | None]:
    signature = inspect.signature(FAMILIES[family].draw).parameters
    empty = inspect.Parameter.empty
    own = {name: signature[name].default for name in _own(FAMILIES[family])}
    shared = {name: PARAMETERS[name].default for name in (*SHARED, *COLORS[color])}
    # What a family needs, it needs also where others can do without: a Gabor patch its envelope.
    return {name: None if value is empty else value for name, value in (own | shared | own).items()}


def _check_range(name: str, values: np.ndarray, default: object) -> None:
    parameter = PARAMETERS[name]
    if np.isnan(values).any() and default == default:
        raise ValueError(f"{name} is not said of every stimulus; it needs a number")
    given = values[~np.isnan(values)]
    if (bad := parameter.refused(given)).any():
        raise ValueError(f"{name}={given[bad][0]:.12g} is not {parameter.range}")


def _check_nyquist(name: str, values: np.ndarray, field: VisualField) -> None:
    if PARAMETERS[name].units == "cycles degree-1" and (bad := values >= field.nyquist).any():
        value = float(values[bad].max())
        raise ValueError(
            f"{name}={value:.12g} is not below the Nyquist limit of {field.nyquist:g} "
            f"cycles/degree; use a finer field (pixels_per_degree > {2 * value:g}: more pixels or "
            "fewer degrees)"
        )


def _alike(values: np.ndarray) -> bool:
    return bool(((values == values[0]) | np.isnan(values) & np.isnan(values[0])).all())
