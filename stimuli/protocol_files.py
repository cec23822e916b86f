"""Protocols as files: plain data in YAML or TOML, to be saved, compared and shared.

A file holds ``name``, ``purpose`` and ``citation``, each of which may be left out, and either a
list of blocks of stimuli, shown one after the other,

.. code-block:: yaml

    stimuli:
      - family: grating
        orientation: {start: 0, step: 15, count: 12}          # start + step * i
        spatial_frequency: {start: 0.5, factor: 2, count: 3}  # start * factor ** i
        contrast: [0.1, 0.5, 1]
        diameter: 2
      - family: plaid
        paired: true  # entry by entry instead of every combination
        spatial_frequency: 2
        orientation: [0, 45]
        mask_contrast: [0.1, 0.5]

or the name of a protocol, with what is to differ from its defaults:

.. code-block:: yaml

    protocol: contrast_invariance
    parameters: {orientations: 12, contrasts: [0.1, 1]}

A file is data from a stranger: nothing in it is run, and its size is limited.
"""

import inspect
import json
import math
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import numpy as np

from ephys.stimuli.blocks import Series, blocks
from ephys.stimuli.colors import COLORS
from ephys.stimuli.families import FAMILIES, PARAMETERS, WORDS
from ephys.stimuli.plain_data import BadFileError, Cell, read_toml, read_yaml
from ephys.stimuli.protocols import PROTOCOLS, STANDARD, Protocol, citation, purpose
from ephys.stimuli.sweep import StimulusSet, paired, parameters_of, sweep
from ephys.visual_field import VisualField

LARGEST_BYTES = 4 * 2**20  # bytes of a file, which are read in seconds
MOST_STIMULI, MOST_BLOCKS, LONGEST_WORD, LARGEST_WHOLE = 1_000_000, 1000, 255, 10**8
KEYS = ("name", "purpose", "citation", "stimuli", "protocol", "parameters")


@dataclass(frozen=True)
class _Format:
    """How a kind of file is read, and what differs in how it is written."""

    read: Callable[[str], Cell]
    equals: str
    nan: str
    stimuli: str
    block: str
    indent: str


_YAML = _Format(read_yaml, ": ", ".nan", "stimuli:\n", "  - ", "    ")
_TOML = _Format(read_toml, " = ", "nan", "", "\n[[stimuli]]\n", "")
FORMATS = {".yaml": _YAML, ".yml": _YAML, ".toml": _TOML}
SUFFIXES = tuple(FORMATS)


def read_protocol(path: str | Path, field: VisualField = STANDARD) -> Protocol:
    """The protocol that a file describes.

    Parameters
    ----------
    path : ends in .yaml, .yml or .toml.
    field : the display, for a file that names a protocol that goes by it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError : if it is no file.
    ValueError : for a file that is not as it has to be, with the line and what is wrong there.
    """
    path = Path(path)
    form = _format(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a protocol file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        return _parse(file.read(LARGEST_BYTES + 1), path, form, field)


def write_protocol(protocol: Protocol, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a protocol down, such that what is read back is the same to the last bit.

    Stimuli that are every combination of some values, in the order of a ``sweep``, are written as
    these values, and others one by one.

    Parameters
    ----------
    path : ends in .yaml, .yml or .toml.
    overwrite : whether to replace a file that is there.

    Returns
    -------
    The path.

    Raises
    ------
    FileExistsError : for a file that is not to be replaced.
    FileNotFoundError : if there is no folder for it.
    ValueError : for another suffix, and for what a file cannot say.
    """
    path = Path(path)
    form = _format(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; overwrite it, or choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder; make it first")
    content = _text(protocol, form).encode()
    back = _parse(content, path, form, STANDARD)
    if back.stimuli.sha256 != protocol.stimuli.sha256 or _about(back) != _about(protocol):
        raise ValueError(f"{path}: {protocol.name} would not be the same when it is read back")
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _format(path: Path) -> _Format:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} ends in none of {', '.join(SUFFIXES)}")
    return FORMATS[path.suffix.lower()]


def _about(protocol: Protocol) -> tuple[str, str, str]:
    return protocol.name, protocol.purpose, protocol.citation


# Reading.


def _parse(content: bytes, path: Path, form: _Format, field: VisualField) -> Protocol:
    if len(content) > LARGEST_BYTES:
        raise ValueError(
            f"{path}: more than {LARGEST_BYTES:,} bytes are too many for a protocol file"
        )
    try:
        return _protocol(form.read(content.decode("utf-8-sig")), path.stem, field)
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise ValueError(f"{path}, line {line}: this is not text in UTF-8") from None
    except BadFileError as error:
        raise ValueError(f"{path}, line {error.line}: {error}") from None


def _protocol(whole: Cell, stem: str, field: VisualField) -> Protocol:
    if whole.value is None:
        raise whole.bad("the file is empty")
    given = whole.members("a protocol file", KEYS)
    chosen = [given[key] for key in ("stimuli", "protocol") if key in given]
    if len(chosen) != 1:
        both = "both" if chosen else "neither"
        last = max(chosen, key=lambda cell: cell.line, default=whole)
        raise last.bad(f"a protocol file has either stimuli or protocol; this one has {both}")
    about = {key: _line_of_text(given[key], key) for key in KEYS[:3] if key in given}
    if "protocol" in given:
        base = given["protocol"].one_of("protocol", PROTOCOLS)
        stimuli = _named(base, given, field)
        about = {"purpose": purpose(base), "citation": citation(base), **about}
    elif "parameters" in given:
        raise given["parameters"].bad("parameters are for a protocol, not for stimuli")
    else:
        stimuli = _shown(given["stimuli"])
    try:
        return Protocol(**{"name": stem, "purpose": "", "citation": "", **about}, stimuli=stimuli)
    except ValueError as error:
        way_out = "" if "name" in given else "; say a name: in the file, or rename it"
        raise given.get("name", whole).bad(f"{error}{way_out}") from None


def _line_of_text(cell: Cell, name: str) -> str:
    text = cell.text(name).rstrip("\n")  # which ends a block of YAML
    if len(text.splitlines()) > 1:
        raise cell.bad(f"{name} is of more than one line")
    return text


def _named(name: str, given: dict[str, Cell], field: VisualField) -> StimulusSet:
    """The stimuli of a protocol that is in the program."""
    takes = dict(inspect.signature(PROTOCOLS[name]).parameters)
    values: dict[str, Any] = {"field": field} if takes.pop("field", None) else {}
    if "parameters" in given:
        for key, cell in given["parameters"].members("parameters").items():
            Cell(key, cell.line).one_of(f"parameter of {name}", takes)
            values[key] = _argument(cell, key, takes[key].annotation)
    try:
        return PROTOCOLS[name](**values)
    except (ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        what = str(error.args[0] if error.args else error).partition("\n")[0]
        raise given["protocol"].bad(f"{name}: {what}") from error


def _argument(cell: Cell, name: str, annotation: Any) -> Any:
    """A value for a parameter of a function, of the type that it is annotated with."""
    types = set(get_args(annotation)) or {annotation}
    if cell.value is None and NoneType in types:
        return None
    if types <= {int, NoneType}:
        return cell.whole(name, -LARGEST_WHOLE, LARGEST_WHOLE)
    if types <= {float, NoneType}:
        return cell.number(name)
    if types <= {str, NoneType}:
        return cell.text(name)
    _count(cell, name)
    return _numbers(cell, name)


def _shown(cell: Cell) -> StimulusSet:
    """The stimuli of a list of blocks."""
    given = [_GivenBlock.read(block) for block in cell.items("stimuli")]
    if not 1 <= len(given) <= MOST_BLOCKS:
        raise cell.bad(f"stimuli is a list of {len(given)} blocks, not of 1 to {MOST_BLOCKS}")
    total = 0
    for block in given:  # before anything is made
        total += block.count
        if total > MOST_STIMULI:
            raise block.whole.bad(f"{total:.4g} stimuli up to here are more than {MOST_STIMULI:,}")
    sets = [block.stimuli() for block in given]
    while len(sets) > 1:  # two by two, as one by one would copy the first for each other one
        sets = [reduce(operator.add, sets[i : i + 2]) for i in range(0, len(sets), 2)]
    return sets[0]


@dataclass(frozen=True)
class _GivenBlock:
    """A block of stimuli as a file says it."""

    whole: Cell
    family: str
    paired: bool
    cells: dict[str, Cell]
    known: dict[str, float | str | None]

    @classmethod
    def read(cls, whole: Cell) -> "_GivenBlock":
        cells = dict(whole.members("a block of stimuli"))
        if "family" not in cells:
            raise whole.bad(f"a block needs a family; there are {', '.join(FAMILIES)}")
        family = cells.pop("family").one_of("family", FAMILIES)
        together = cells.pop("paired").truth("paired") if "paired" in cells else False
        colors = _words(cells["color"], "color").tolist() if "color" in cells else ["luminance"]
        known: dict[str, float | str | None] = {}
        for color in dict.fromkeys(colors):
            known |= parameters_of(family, color)
        for name, cell in cells.items():
            systems = [color for color, components in COLORS.items() if name in components]
            if systems and name not in known:
                raise cell.bad(f"{name} is of color: {' or '.join(systems)}, not {colors[0]}")
            Cell(name, cell.line).one_of(f"parameter of a {family}", {**known, **WORDS})
        needed = [name for name, value in known.items() if value is None and name not in cells]
        if needed:
            raise whole.bad(f"a {family} needs {', '.join(needed)}")
        return cls(whole, family, together, cells, known)

    @property
    def count(self) -> int:
        counts = {name: _count(cell, name) for name, cell in self.cells.items()}
        if not self.paired:
            return math.prod(counts.values())
        longest = max(counts, key=counts.__getitem__, default="")
        for name, count in counts.items():
            if count not in (1, counts[longest]):
                what = f"{name} has {count} values, {longest} {counts[longest]}"
                raise self.cells[name].bad(f"{what}; paired ones have as many, or one")
        return counts.get(longest, 1)

    def stimuli(self) -> StimulusSet:
        values = {name: self._values(name, cell) for name, cell in self.cells.items()}
        try:
            return (paired if self.paired else sweep)(FAMILIES[self.family].draw, **values)
        except (KeyError, ValueError) as error:
            raise self.whole.bad(error.args[0]) from error

    def _values(self, name: str, cell: Cell) -> np.ndarray:
        period = None
        if name in WORDS:
            values = _words(cell, name)
        else:
            values, parameter = _numbers(cell, name), PARAMETERS[name]
            period = parameter.period
            none = np.isnan(values) & (self.known[name] != self.known[name])  # such as no aperture
            bad = np.flatnonzero(parameter.refused(values) & ~none)
            if bad.size:
                what = f"{name}={values[bad[0]].item()!r} is not {parameter.range}"
                raise _at(cell, bad[0]).bad(what)
        if not self.paired:
            _refuse_twice(name, cell, values, None)
            _refuse_twice(name, cell, values, period)
        return values


def _refuse_twice(name: str, cell: Cell, values: np.ndarray, period: float | None) -> None:
    around = values % period if period else values
    _, first, which = np.unique(around, return_index=True, return_inverse=True)
    if first.size == values.size:
        return
    again = int(np.setdiff1d(np.arange(values.size), first)[0])
    value, before = values[again].item(), values[first[which[again]]].item()
    what = f"{name}={value!r} is given twice"
    if period:
        what = f"{name}={value!r} is {before!r} on a circle of {period:g} degrees; leave one out"
    raise _at(cell, again).bad(what)


def _count(cell: Cell, name: str) -> int:
    """How many values a parameter is given."""
    if not isinstance(cell.value, dict):
        if not cell.elements:
            raise cell.bad(f"{name} is an empty list")
        return len(cell.elements)
    said = cell.members(f"a series of {name}", ("start", "step", "factor", "count"))
    if not {"start", "count"} < said.keys() or ("step" in said) == ("factor" in said):
        raise cell.bad(f"a series of {name} needs start, count, and either step or factor")
    return said["count"].whole(f"count of {name}", 1, MOST_STIMULI)


def _numbers(cell: Cell, name: str) -> np.ndarray:
    if not isinstance(cell.value, dict):
        return np.array([one.number(name) for one in cell.elements])
    said = {key: one.number(f"{key} of {name}") for key, one in cell.value.items()}
    return Series(said["start"], int(said["count"]), said.get("step"), said.get("factor")).values


def _words(cell: Cell, name: str) -> np.ndarray:
    for one in cell.elements:
        word = one.one_of(name, WORDS[name]) if WORDS[name] else one.text(name)
        if len(word) > LONGEST_WORD:
            raise one.bad(f"{name} of {len(word)} characters is longer than {LONGEST_WORD}")
    return np.array([one.value for one in cell.elements])


def _at(cell: Cell, i: int) -> Cell:
    """What an element is to be refused at."""
    return cell.elements[i] if isinstance(cell.value, list) else cell


# Writing.


def _text(protocol: Protocol, form: _Format) -> str:
    """A protocol in YAML or TOML, which agree on how text, lists and mappings in a line look."""
    about = zip(KEYS[:3], _about(protocol), strict=True)
    lines = [f"{key}{form.equals}{_quoted(text)}\n" for key, text in about if text]
    if not len(protocol.stimuli):
        raise ValueError(f"{protocol.name} has no stimuli to write down")
    lines.append(form.stimuli)
    for number, block in enumerate(blocks(protocol.stimuli)):
        if number == MOST_BLOCKS:
            raise ValueError(
                f"{protocol.name} changes between families more than {MOST_BLOCKS} times, too "
                "often for a file; put those of a family one after the other"
            )
        said = {"family": _quoted(block.family)}
        if block.paired:
            said["paired"] = "true"
        said |= {name: _value(values, form) for name, values in block.columns.items()}
        members = [f"{name}{form.equals}{value}\n" for name, value in said.items()]
        lines.append(form.block + form.indent.join(members))
    return "".join(lines)


def _value(values: np.ndarray | Series, form: _Format) -> str:
    if isinstance(values, Series):
        said = {"start": values.start, "step": values.step, "factor": values.factor}
        members = [f"{n}{form.equals}{_literal(v, form)}" for n, v in said.items() if v is not None]
        return f"{{{', '.join(members)}, count{form.equals}{values.count}}}"
    texts = [_literal(value, form) for value in values.tolist()]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _literal(value: float | str, form: _Format) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if math.isnan(value):
        return form.nan
    text = repr(value)
    return text if text == "-0.0" else text.removesuffix(".0")


def _quoted(text: str) -> str:
    """A string of YAML and of TOML, whose other escapes are those of JSON."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
