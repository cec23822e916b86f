"""YAML and TOML as plain data that knows its lines, and nothing else.

Of YAML, numbers, true, false and null are those of its version 1.2: ``1e-3`` is a number, ``no``
and ``010`` are text. Tags, which could make objects, are refused.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any

import yaml

from ephys.nearest import nearest

_KINDS = {str: "text", int: "a number", float: "a number", bool: "true or false"}
_KINDS |= {NoneType: "nothing", list: "a list", dict: "a mapping"}
DEEPEST = 8  # lists and mappings within each other
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of which only the parser is used
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, float | bool | None] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf"], float("inf")),
    "-.inf": -float("inf"),
}
# What TOML is made of: strings, comments, brackets, and words. No text takes it long to match.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\\?\Z)|' + r"'''.*?(?:'{3,5}|\Z)|"
    r'"(?:\\.|[^"\\\n])*"?|' + r"'[^'\n]*'?|"
    r"#[^\n]*|[\[\]{},\n]|[^\s\[\]{},#\"']+",
    re.DOTALL,
)


@dataclass(frozen=True)
class Cell:
    """A value and its line; that of a mapping's value is the line of its key.

    ``value`` is text, a number, True, False, None, a date, a list of cells, or a dict of cells. The
    methods give it as what it has to be, or raise a ``BadFileError`` that calls it ``what``.
    """

    value: Any
    line: int

    @property
    def elements(self) -> list["Cell"]:
        """Those of a list; anything else is one element."""
        return self.value if isinstance(self.value, list) else [self]

    def members(self, what: str, known: Iterable[str] | None = None) -> dict[str, "Cell"]:
        """Those of a mapping, whose keys are all known."""
        members: dict[str, Cell] = self._of(what, "a mapping", dict)
        for key, member in members.items():
            if known is not None:
                Cell(key, member.line).one_of(f"key of {what}", known)
        return members

    def items(self, what: str) -> list["Cell"]:
        return list(self._of(what, "a list", list))

    def text(self, what: str) -> str:
        return str(self._of(what, "text", str))

    def truth(self, what: str) -> bool:
        return bool(self._of(what, "true or false", bool))

    def whole(self, what: str, least: float = -math.inf, most: float = math.inf) -> int:
        number = int(self._of(what, "a whole number", int))
        if not least <= number <= most:
            raise self.bad(f"{what}={brief(number)} is not {least:,} to {most:,}")
        return number

    def number(self, what: str) -> float:
        value = self._of(what, "a number", int, float)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if isinstance(value, int) and number != value:
            raise self.bad(f"{what}={brief(value)} is no number that a float64 holds exactly")
        return number

    def one_of(self, what: str, known: Iterable[str]) -> str:
        word, names = self.text(what), list(known)
        if word not in names:
            close = f"; did you mean {nearest(word, names)}? There are {', '.join(names)}"
            raise self.bad(f"{brief(word)} is no {what}{close if names else '; there is none'}")
        return word

    def bad(self, what: str) -> "BadFileError":
        return BadFileError(self.line, what)

    def _of(self, what: str, wanted: str, *types: type) -> Any:
        if type(self.value) not in types:  # True is no number here
            kind = _KINDS.get(type(self.value), "a date")
            said = f" ({brief(self.value)})" if isinstance(self.value, str | float | int) else ""
            raise self.bad(f"{what} is {kind}{said}, not {wanted}")
        return self.value


class BadFileError(Exception):
    """What is wrong, and in which line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def read_yaml(text: str) -> Cell:
    """The content of a YAML document.

    Raises
    ------
    BadFileError : for what is no YAML, a key given twice, a tag, and what is nested too deeply.
    """
    events: Iterator[Any] = yaml.parse(text, _LOADER)
    try:
        next(events)
        if isinstance(event := next(events), yaml.StreamEndEvent):
            return Cell(None, 1)
        content = _yaml_cell(next(events), events, {}, 0)
        next(events)
        if not isinstance(event := next(events), yaml.StreamEndEvent):
            raise BadFileError(event.start_mark.line + 1, "a second document begins")
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark  # which may be behind the last line
        line = 1 + min(mark.line, text.count("\n"))
        raise BadFileError(line, f"no YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, text.find(chr(error.character)))
        raise BadFileError(line, f"no YAML: {error.reason}") from None
    return content


def read_toml(text: str) -> Cell:
    """The content of a TOML document.

    Raises
    ------
    BadFileError : for what is no TOML, and what is nested too deeply.
    """
    text = text.replace("\r\n", "\n")
    _refuse_deep_toml(text)
    try:
        content = tomllib.loads(text)
    except ValueError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else 1 + text.count("\n")
        raise BadFileError(line, f"no TOML: {what}") from None
    return _toml_cell(content, _toml_lines(text), (), 1)


def brief(value: object) -> str:
    """What a file says, in less than a line."""
    if isinstance(value, int) and abs(value) > 10**40:  # whose digits may be too many to print
        return "a number of many digits"
    text = f"{value:,}" if type(value) is int else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _yaml_cell(first: Any, events: Iterator[Any], anchors: dict[str, Cell], depth: int) -> Cell:
    """A node of YAML, from its first event on."""
    line = first.start_mark.line + 1
    if isinstance(first, yaml.AliasEvent):
        if first.anchor not in anchors:
            raise BadFileError(line, f"no YAML: there is no anchor {brief(first.anchor)} before it")
        return Cell(anchors[first.anchor].value, line)
    if first.tag is not None:
        raise BadFileError(line, f"the tag {brief(first.tag)} is refused; a file is plain data")
    value: Any = [] if isinstance(first, yaml.SequenceStartEvent) else {}
    if isinstance(first, yaml.ScalarEvent):
        value = _yaml_scalar(first.value) if first.implicit[0] else first.value
    elif depth == DEEPEST:
        raise BadFileError(line, f"lists or mappings are nested more than {DEEPEST} deep")
    else:
        while not isinstance(event := next(events), yaml.CollectionEndEvent):
            if isinstance(value, list):
                value.append(_yaml_cell(event, events, anchors, depth + 1))
                continue
            at = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise BadFileError(at, "a key is no plain text")
            if event.value in value:
                raise BadFileError(at, f"{brief(event.value)} is given twice")
            inner = _yaml_cell(next(events), events, anchors, depth + 1)
            value[event.value] = Cell(inner.value, at)
    cell = Cell(value, line)
    if first.anchor is not None:
        anchors[first.anchor] = cell
    return cell


def _yaml_scalar(text: str) -> str | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    return int(text) if _WHOLE.fullmatch(text) and abs(number) < float("inf") else number


def _refuse_deep_toml(text: str) -> None:
    """Before it is parsed, which for a key of many parts takes memory by the square of them."""
    line, depth, dots = 1, 0, 0
    for token in _TOKEN.finditer(text):
        what = token[0]
        if what in "[]{},\n":
            depth, dots = depth + (what in "[{") - (what in "]}"), 0
        elif what[0] not in "\"'#":
            dots += what.count(".")
        if max(depth, dots) > DEEPEST:
            raise BadFileError(line, f"lists or tables are nested more than {DEEPEST} deep")
        line += what.count("\n")


def _toml_cell(value: Any, lines: dict[tuple, int], path: tuple, line: int) -> Cell:
    line = lines.get(path, line)
    if isinstance(value, dict):
        value = {key: _toml_cell(one, lines, (*path, key), line) for key, one in value.items()}
    elif isinstance(value, list):
        value = [_toml_cell(one, lines, (*path, i), line) for i, one in enumerate(value)]
    return Cell(value, line)


def _toml_lines(text: str) -> dict[tuple, int]:
    """The line of each key, table, and element of an array, by its path, in valid TOML."""
    lines: dict[tuple, int] = {}
    tables: dict[tuple, int] = {}  # how many an array of tables has so far
    here: tuple = ()
    for line, statement, elements in _toml_statements(text):
        parsed = tomllib.loads(statement)
        if not statement.lstrip().startswith("["):
            _note(lines, here, parsed, line, elements)
            continue
        here = ()
        while parsed:  # the names in a header, one within the other
            ((name, inner),) = parsed.items()
            here = (*here, name)
            lines.setdefault(here, line)
            if isinstance(inner, list):
                tables[here] = tables.get(here, 0) + 1
                inner = inner[0]
            if here in tables:
                here = (*here, tables[here] - 1)
                lines.setdefault(here, line)
            parsed = inner
    return lines


def _note(lines: dict[tuple, int], path: tuple, value: Any, line: int, elements: list[int]) -> None:
    """Note where a statement's value, and everything in it, is."""
    lines.setdefault(path, line)
    if isinstance(value, dict):
        for key, inner in value.items():
            _note(lines, (*path, key), inner, line, elements)
    elif isinstance(value, list) and len(value) == len(elements):
        for i, inner in enumerate(value):
            _note(lines, (*path, i), inner, elements[i], [])


def _toml_statements(text: str) -> Iterator[tuple[int, str, list[int]]]:
    """Every header and every ``key = value``: its first line, itself, the lines of its elements."""
    line, first, start, depth, awaited = 1, 0, 0, 0, False
    elements: list[int] = []
    for token in _TOKEN.finditer(text + "\n"):
        what = token[0]
        if what == "\n" and depth == 0:
            if first:
                yield first, text[start : token.start()], elements
            first, start, elements = 0, token.end(), []
        elif what[0] not in "#\n":
            first = first or line
            if awaited and depth == 1 and what != "]":
                elements.append(line)
            depth += (what in "[{") - (what in "]}")
            awaited = what in "[,"
        line += what.count("\n")
