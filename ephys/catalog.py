"""The protocols in words: all of them in a list, and one of them on a page."""

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

from ephys.panels import Row, choose_panels, number, words
from ephys.stimuli.protocol_files import SUFFIXES, read_protocol
from ephys.stimuli.protocols import (
    BATTERIES,
    PROTOCOLS,
    Protocol,
    citation,
    protocol,
    purpose,
)
from ephys.visual_field import VisualField

COLUMNS = 100  # of text
NAME, COUNT = 28, 6  # columns of the list


def find_protocol(name: str, field: VisualField) -> Protocol:
    """A protocol by its name, or from a .yaml or .toml file.

    Raises
    ------
    KeyError : for a name that is none, naming the nearest.
    ValueError : for a battery, and a file that is not as it has to be.
    FileNotFoundError : if there is no such file.
    """
    if name in BATTERIES:
        members = ", ".join(BATTERIES[name].members)
        raise ValueError(f"{name} is a battery; name one of its protocols: {members}")
    if Path(name).suffix.lower() in SUFFIXES:
        return read_protocol(name, field)
    return protocol(name, field)


def list_protocols(field: VisualField) -> str:
    """Every protocol: its name, its number of stimuli, what it is for, and whose it was.

    Then the batteries with their members. A protocol of which something is missing, photographs
    say, has no number, and the reason.
    """
    entries = []
    for name in PROTOCOLS:
        try:
            count, missing = str(len(protocol(name, field).stimuli)), ""
        except (OSError, ValueError) as error:
            reason = error.args[0] if len(error.args) == 1 else error
            count, missing = "-", f"It cannot be shown here: {reason}"
        entries.append(_in_columns(name, count, purpose(name), citation(name), missing))
    for name, battery in BATTERIES.items():
        members = ", ".join(battery.members)
        entries += ["", _in_columns(name, "", battery.purpose, members)]
    return "\n".join(entries)


def describe_protocol(name: str, field: VisualField) -> str:
    """All that is known of a protocol, a battery or a protocol file, on a page.

    Raises
    ------
    KeyError, ValueError, FileNotFoundError : as :func:`find_protocol`, but for batteries.
    """
    if name in BATTERIES:
        members = [_in_columns(member, "", purpose(member)) for member in BATTERIES[name].members]
        return "\n".join([purpose(name), "", *members])
    found = find_protocol(name, field)
    return "\n".join([*_text(name, found), "", *_stimuli(found, field)])


def _text(name: str, found: Protocol) -> Iterator[str]:
    """Its docstring and what its function takes; of a file, what it says."""
    if name not in PROTOCOLS:
        yield found.name
        yield from filter(None, [found.purpose, found.citation])
        return
    yield inspect.getdoc(PROTOCOLS[name]) or name
    parameters = dict(inspect.signature(PROTOCOLS[name]).parameters)
    parameters.pop("field", None)
    if parameters:
        yield "\nParameters\n----------"
    for parameter in parameters.values():
        default = "not given" if parameter.default is None else parameter.default
        yield f"{parameter.name} : {default}"


def _stimuli(found: Protocol, field: VisualField) -> Iterator[str]:
    """What the stimuli go through, and their hash."""
    size = f"{field.width_px} x {field.height_px} pixels, {number(field.width)} degrees wide"
    yield f"Stimuli\n-------\n{len(found.stimuli):,}, on {size}"
    for section in choose_panels(found.stimuli):
        yield f"\n{section.heading}"
        said = [_values(row) for row in section.rows if row.axis]
        said += [f"the same in all: {section.always}"] if section.always else []
        for line in said:
            yield textwrap.fill(line, COLUMNS, initial_indent=" " * 4, subsequent_indent=" " * 8)
    yield f"\nsha256 {found.stimuli.sha256}"


def _values(row: Row) -> str:
    some = ", ".join(caption.splitlines()[0] for caption in row.captions)
    such_as = "such as " if row.count > len(row.stimuli) else ""
    return f"{words(row.axis)}: {row.count:,} values, {such_as}{some}"


def _in_columns(name: str, count: str, *texts: str) -> str:
    left = f"{name:{NAME}}{count:>{COUNT}} "
    lines = [
        line
        for text in texts
        for line in textwrap.wrap(text, COLUMNS - len(left), break_on_hyphens=False)
    ]
    return textwrap.indent("\n".join(lines), " " * len(left)).replace(" " * len(left), left, 1)
