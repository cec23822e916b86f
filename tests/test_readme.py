"""The README tells the truth."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from ephys.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def readme_tables() -> ModuleType:
    path = ROOT / "benchmarks" / "readme_tables.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_results() -> None:
    tables = readme_tables()
    assert tables.by_contrast("selectivity") in README
    assert tables.by_contrast("selectivity", baseline="above blank") in README
    assert tables.slopes("raw") in README
    assert tables.slopes("above blank") in README
    assert tables.quality() in README
    assert tables.recording() in README


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "estimate" in capsys.readouterr().out


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^    ephys ([a-z]+(?: superres)?)\b", README, re.MULTILINE))
    assert isinstance(main, click.Group)
    commands = set(main.commands) - {"train"} | {"train superres"}
    assert listed == commands


def test_every_file_that_is_named_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []
