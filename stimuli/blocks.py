"""A set of stimuli in few words: blocks, of every combination of some values, or one by one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ephys.stimuli.families import PARAMETERS, WORDS
from ephys.stimuli.sweep import StimulusSet

MOST_SWEEPS = 100  # that stimuli of one kind are taken apart into, before they are listed
SHORTEST = 4  # values of a series; fewer are as well listed


@dataclass(frozen=True)
class Series:
    """Numbers ``start + step * i``, or ``start * factor ** i``, for i from 0 to ``count`` - 1."""

    start: float
    count: int
    step: float | None = None
    factor: float | None = None

    @property
    def values(self) -> np.ndarray:
        """The numbers, infinite or NaN where they are too large."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.step is not None:
                return self.start + self.step * np.arange(self.count, dtype=float)
            powers = [_power(float(self.factor or 0), i) for i in range(self.count)]
            return self.start * np.array(powers)


@dataclass(frozen=True)
class Block:
    """Stimuli of one family.

    Parameters
    ----------
    columns : for :func:`~ephys.stimuli.sweep.sweep`, or if ``paired`` for
        :func:`~ephys.stimuli.sweep.paired`: values of each parameter.
    """

    family: str
    paired: bool
    columns: dict[str, np.ndarray | Series]


def blocks(stimuli: StimulusSet) -> Iterator[Block]:
    """The blocks that, one after the other, are the stimuli of a set, to the last bit.

    Neighbors of one family of which the same is said are sweeps, or paired where that is shorter.

    Raises
    ------
    ValueError : for a column that is no parameter.
    """
    family = stimuli.table["family"].values.astype(str)
    names = stimuli.parameters
    if unknown := [name for name in names if name not in PARAMETERS and name not in WORDS]:
        raise ValueError(f"{unknown[0]!r} is no parameter of stimuli; drop it from their table")
    columns = {n: stimuli.table[n].values.astype(str if n in WORDS else float) for n in names}
    said = {n: v != "" if n in WORDS else ~np.isnan(v) for n, v in columns.items()}
    kind = [_codes(family), *(one for name, one in said.items() if not _optional(name))]
    changes = np.flatnonzero((np.diff(np.stack(kind).astype(int), axis=1) != 0).any(0)) + 1
    bounds = [0, *changes.tolist(), len(family)]
    for start, end in pairwise(bounds):
        here = {name: v[start:end] for name, v in columns.items() if said[name][start:end].any()}
        yield from _alike(str(family[start]), here)


def _alike(family: str, columns: dict[str, np.ndarray]) -> list[Block]:
    same = np.stack([_codes(_bits(values)) for values in columns.values()], axis=1)
    apart = np.stack([_codes(_around(n, values)) for n, values in columns.items()], axis=1)
    start, names, sweeps = 0, list(columns), list[Block]()
    while start < len(same) and len(sweeps) <= min(8 + start // 8, MOST_SWEEPS):
        axes = _sweep(same[start:], apart[start:])
        varied = {names[i]: slice(start, start + stride * n, stride) for i, stride, n in axes}
        rest = {name: slice(start, start + 1) for name in names if name not in varied}
        values = {name: _short(columns[name][which]) for name, which in (rest | varied).items()}
        sweeps.append(Block(family, False, values))
        start += math.prod(count for _, _, count in axes)
    listed = [Block(family, True, _pairs(columns))]
    whole = start == len(same)
    return sweeps if whole and _length(sweeps) <= _length(listed) else listed


def _length(some: list[Block]) -> int:
    """How much there is to say: every parameter, and its values."""
    columns = [values for block in some for values in block.columns.values()]
    return sum(1 + (3 if isinstance(values, Series) else values.size) for values in columns)


def _sweep(same: np.ndarray, apart: np.ndarray) -> list[tuple[int, int, int]]:
    """The axes of the longest sweep that some stimuli begin with, the slowest first.

    Parameters
    ----------
    same : numbers that are equal where values are, (stimulus, parameter).
    apart : that are equal where a sweep may not have both values.

    Returns
    -------
    Of each axis the parameter, after how many stimuli it goes on, and how many values it has.
    """
    axes: list[tuple[int, int, int]] = []
    size = 1
    while len(same) >= 2 * size:
        whole = len(same) // size * size
        parts = same[:whole].reshape(-1, size, same.shape[1])
        changed = np.flatnonzero((parts[1] != parts[0]).any(0))
        if len(changed) != 1:
            break
        (axis,) = changed.tolist()
        goes_on = (np.delete(parts, axis, 2) == np.delete(parts[:1], axis, 2)).all((1, 2))
        goes_on &= (parts[:, :, axis] == parts[:, :1, axis]).all(1)
        new = np.zeros(len(parts), bool)
        new[np.unique(apart[:whole:size, axis], return_index=True)[1]] = True
        count = int(np.append(goes_on & new, False).argmin())
        if count < 2:
            break
        axes.insert(0, (axis, size, count))
        size *= count
    return axes


def _pairs(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray | Series]:
    alike = [name for name, values in columns.items() if (_bits(values) == _bits(values)[0]).all()]
    if len(alike) == len(columns):  # one of them has to say how many there are
        alike = alike[1:]
    return {n: _short(v[:1] if n in alike else v) for n, v in columns.items()}


def _short(values: np.ndarray) -> np.ndarray | Series:
    """A series, if the values are one to the last bit."""
    if values.dtype.kind != "f" or values.size < SHORTEST or not np.isfinite(values).all():
        return values
    start, second, last = (float(values[i]) for i in (0, 1, -1))
    steps = [second - start, (last - start) / (values.size - 1)]
    factors = [second / start] if start else []
    candidates = [Series(start, values.size, step=step) for step in _and_rounded(steps)]
    candidates += [Series(start, values.size, factor=factor) for factor in _and_rounded(factors)]
    for series in candidates:
        few = replace(series, count=SHORTEST).values  # of most, these are others already
        begins = (_bits(few) == _bits(values[:SHORTEST])).all()
        if begins and (_bits(series.values) == _bits(values)).all():
            return series
    return values


def _and_rounded(numbers: list[float]) -> list[float]:
    """The numbers, and those of fewer digits that rounding may have kept them from being."""
    return [*numbers, *(float(f"{number:.12g}") for number in numbers)]


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent  # Python's, as numpy's differs between processors
    except OverflowError:
        return math.inf


def _optional(name: str) -> bool:
    """Whether NaN says something: that there is none."""
    default = None if name in WORDS else PARAMETERS[name].default
    return default is not None and math.isnan(default)


def _bits(values: np.ndarray) -> np.ndarray:
    """Equal only where numbers are the same to the last bit; every NaN is the same."""
    if values.dtype.kind != "f":
        return values
    return np.where(np.isnan(values), np.nan, values).view(np.int64)


def _around(name: str, values: np.ndarray) -> np.ndarray:
    """Equal where a sweep has a value twice."""
    period = None if name in WORDS else PARAMETERS[name].period
    return values % period if period else values


def _codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].reshape(-1)
