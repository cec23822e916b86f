"""Which few of many stimuli to look at, and what to say of them.

A row for each axis that the stimuli go through, with a few of its values, while all others are held
at a value at which something is to be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ephys.stimuli.families import PARAMETERS, WORDS
from ephys.stimuli.sweep import StimulusSet

MOST_PANELS = 6
# At which of its values an axis is held: the highest, the one nearest to a number, or the middle.
HIGHEST = (
    *("contrast", "mask_contrast", "surround_contrast", "polarity", "saturation", "chroma"),
    *("diameter", "center_diameter", "radius"),
)
NEAREST = {
    **dict.fromkeys(("orientation", "direction"), 45.0),
    **dict.fromkeys(("mask_angle", "surround_angle"), 90.0),
    **dict.fromkeys(("phase", "mask_phase", "surround_phase", "x", "y", "time"), 0.0),
}
# What several columns say together.
ONE_THING = (("file", "file_row", "file_column"), ("cone_l", "cone_m", "cone_s"))
NAMES = {f"cone_{one}": f"{one.upper()} cones" for one in "lms"} | {
    "file_row": "row",
    "file_column": "column",
}
UNITS = {"1": "", "degree": "°", "cycles degree-1": " cycles/degree", "s": " s", "Hz": " Hz"}
MEANINGS: dict[tuple[str, float | str], str] = {
    ("azimuth", 0.0): "+L-M",
    ("azimuth", 90.0): "+S",
    ("azimuth", 180.0): "-L+M",
    ("azimuth", 270.0): "-S",
    ("polarity", -1.0): "dark",
    ("polarity", 1.0): "light",
}


@dataclass(frozen=True)
class Row:
    """A few stimuli along one axis.

    Parameters
    ----------
    axis : its name; empty for a stimulus that stands for others like it.
    count : how many values it has in all.
    stimuli : which of the set are shown.
    captions : of each its value, and in further lines what else is not as held.
    """

    axis: str
    count: int
    stimuli: tuple[int, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The stimuli of one family, color and part of a protocol.

    Parameters
    ----------
    heading : which, and how many.
    held : where every axis is held in the rows of the others.
    always : what all of them have.
    rows : one for each axis.
    """

    heading: str
    held: str
    always: str
    rows: tuple[Row, ...]


def choose_panels(stimuli: StimulusSet) -> list[Section]:
    """Which stimuli to show, by family, part and color, in the order of the set.

    Of an axis at most ``MOST_PANELS`` values are chosen, see :func:`spread`. Each is shown by the
    stimulus that differs in the fewest other parameters from the one where all axes are held. An
    axis whose values follow from those of another has no row of its own.

    Raises
    ------
    ValueError : for a set of none.
    """
    if not len(stimuli):
        raise ValueError("the set of stimuli is empty; there is nothing to draw")
    kinds = [name for name in ("family", "part", "color", "encoding") if name in stimuli.table]
    members: dict[tuple[str, ...], list[int]] = {}
    keys = zip(*(stimuli.table[name].values.tolist() for name in kinds), strict=True)
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    return [
        _section(stimuli, np.array(which), _heading(dict(zip(kinds, key, strict=True)), len(which)))
        for key, which in members.items()
    ]


def spread(count: int, *, circular: bool = False) -> list[int]:
    """Which of so many values to show: all, or a few at even distances.

    From the first to the last. On a circle, where these are neighbors, rather at distances that are
    exactly even, if that leaves four or more.
    """
    if count <= MOST_PANELS:
        return list(range(count))
    parts = [parts for parts in range(4, MOST_PANELS + 1) if count % parts == 0]
    if circular and parts:
        return list(range(0, count, count // parts[-1]))
    return np.rint(np.linspace(0, count - 1, MOST_PANELS)).astype(int).tolist()


def said_of_all(stimuli: StimulusSet, name: str) -> np.ndarray:
    """A parameter of every stimulus, its default where it is not said."""
    if name not in stimuli.table:
        return np.full(len(stimuli), np.nan)
    values = stimuli.table[name].values
    default = PARAMETERS[name].default if name in PARAMETERS else None
    return values if default is None else np.where(np.isnan(values), default, values)


def words(name: str) -> str:
    """The name of a parameter as it is read."""
    return NAMES.get(name, name.replace("_", " "))


def number(value: float) -> str:
    """Four digits, or of a whole number all of them."""
    return str(int(value)) if value == int(value) else f"{value:.4g}"


@dataclass(frozen=True, eq=False)
class _Axis:
    """The values of a parameter, or of several that say one thing, and each stimulus's place
    among them."""

    names: tuple[str, ...]
    values: list[tuple[float | str, ...]]
    places: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], columns: dict[str, np.ndarray]) -> "_Axis":
        places = np.zeros(columns[names[0]].size, int)
        for name in names:
            different, rank = np.unique(columns[name], return_inverse=True)
            places = places * different.size + rank
        _, first, places = np.unique(places, return_index=True, return_inverse=True)
        values = [tuple(columns[name][i].item() for name in names) for i in first]
        return cls(tuple(names), values, places)

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def circular(self) -> bool:
        known = PARAMETERS.get(self.name)
        return self.name == "time" or (known is not None and known.period is not None)

    @property
    def held(self) -> int:
        numbers = [value[0] for value in self.values]
        if self.name in HIGHEST:
            return len(numbers) - 1
        if self.name in NEAREST:
            return int(np.argmin(abs(np.array(numbers, float) - NEAREST[self.name])))
        return (len(numbers) - 1) // 2

    def determines(self, other: "_Axis") -> bool:
        pairs = np.unique(self.places * len(other.values) + other.places)
        return pairs.size == len(self.values)

    def said(self, place: int, *, named: bool = True) -> str:
        """A value, with its name unless that is the title of the row."""
        (name, value), *others = zip(self.names, self.values[place], strict=True)
        first = _named(name, value)
        if not named and (not others or name == "file"):
            meaning = MEANINGS.get((name, value))
            first = _value(name, value) + (f" ({meaning})" if meaning else "")
        return ", ".join([first, *(_named(*other) for other in others)])


def _section(stimuli: StimulusSet, members: np.ndarray, heading: str) -> Section:
    own = stimuli[members]
    columns = {
        name: said_of_all(own, name)
        for name in map(str, stimuli.table.data_vars)
        if name in own.parameters and (name == "file" or name not in WORDS)
    }
    varied, alike = [], []
    for name in columns:
        one_thing = next((names for names in ONE_THING if name in names), (name,))
        names = [part for part in one_thing if part in columns]
        if name == names[0]:
            axis = _Axis.of(names, columns)
            if len(axis.values) > 1:
                varied.append(axis)
            else:
                alike.append(axis.said(0))
    if not varied:
        row = Row("", 1, (int(members[0]),), ("",))
        return Section(heading, "", ", ".join(alike), (row,))
    places = np.stack([axis.places for axis in varied], axis=1)  # (stimulus, axis)
    wanted = np.array([axis.held for axis in varied])
    away = (abs(places - wanted) / places.max(0)).sum(1)
    held = places[away.argmin()]
    shown = _independent(varied)
    rows = []
    for axis in shown:
        chosen = []
        for place in spread(len(axis.values), circular=axis.circular):
            having = np.flatnonzero(axis.places == place)
            others = (places[having] != held).sum(1)
            chosen.append(having[np.lexsort((away[having], others))[0]])
        captions = tuple(_caption(axis, varied, places[i], held) for i in chosen)
        rows.append(Row(axis.name, len(axis.values), tuple(members[chosen].tolist()), captions))
    said = [axis.said(place) for axis, place in zip(varied, held.tolist(), strict=True)]
    return Section(
        heading, ", ".join(said) if len(shown) > 1 else "", ", ".join(alike), tuple(rows)
    )


def _independent(axes: list[_Axis]) -> list[_Axis]:
    """Without those that follow from another; of two that follow from each other, the first."""
    kept = list(axes)
    for axis in reversed(axes):
        if any(other.determines(axis) for other in kept if other is not axis):
            kept.remove(axis)
    return kept


def _caption(own: _Axis, axes: Sequence[_Axis], places: np.ndarray, held: np.ndarray) -> str:
    """The value of an axis, of those that follow from it, and of those that are not as held."""
    said = {axis.name: axis.said(int(p)) for axis, p in zip(axes, places, strict=True)}
    others = [
        said[axis.name]
        for axis, place, usual in zip(axes, places, held, strict=True)
        if axis is not own and (place != usual or own.determines(axis))
    ]
    value = own.said(int(places[axes.index(own)]), named=False)
    return "\n".join([value, *others])


def _heading(kind: dict[str, str], count: int) -> str:
    said = [kind["family"].replace("_", " ")]
    said += [f"{name} {kind[name]}" for name in ("part", "color") if kind.get(name)]
    said += ["encoded as sRGB"] if kind.get("encoding") == "srgb" else []
    return f"{', '.join(said)}: {count:,} {'stimulus' if count == 1 else 'stimuli'}"


def _named(name: str, value: float | str) -> str:
    return f"{words(name)} {_value(name, value)}"


def _value(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return Path(value).stem if name == "file" else value
    if value != value:
        return "none"
    if name.endswith("contrast"):
        return f"{number(100 * value)}%"
    units = PARAMETERS[name].units
    said = number(value) + UNITS.get(units, f" {units}")
    return said.replace("cycles", "cycle") if value == 1 else said
