"""The README tells the truth."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from ephys.cli import main
from ephys.stimuli.protocol_files import read_protocol

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
    assert tables.stimuli() in README
    assert tables.recording() in README
    assert tables.macaque() in README
    assert tables.competition().strip() in README


def test_the_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 3
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert "estimate" in capsys.readouterr().out
    assert names["images"].shape == (72, 1, 224, 224)
    assert names["found"]["p"].sel(property="orientation").notnull().all()


def test_the_protocol_file_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "my.yaml"
    path.write_text(example)
    assert len(read_protocol(path).stimuli) == 6 * 4 * 5 * 4


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^    ephys ([a-z]+(?: superres| classify)?)\b", README, re.MULTILINE))
    assert isinstance(main, click.Group)
    commands = set(main.commands) - {"train"} | {"train superres", "train classify"}
    assert listed == commands


def test_every_file_that_is_named_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []
