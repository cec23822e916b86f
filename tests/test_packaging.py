"""What a user installs is whole."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_with_code_is_packaged() -> None:
    listed = {*SETTINGS["tool"]["setuptools"]["package-dir"].values()} - {"models/weights"}
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*.py")}
    elsewhere = ("tests", "benchmarks", "notebooks", "build", ".", "runs")
    assert {f for f in folders if not f.startswith(elsewhere)} == {"ephys", *listed}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked far from the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listing = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    tracked = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.is_file() and not name.startswith((".typings", "tests")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(path.read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive_file:
        archive_file.extractall(folder / "site")
    return folder / "site"


def run_installed(installed: Path, code: str) -> str:
    """The output of code that finds the unpacked wheel before the source."""
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); " + code
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_installed_wheel_loads_the_shipped_networks(installed: Path) -> None:
    code = (
        "import ephys; from ephys import models; from ephys.models.sources import SHIPPED; "
        "print(ephys.__file__); [print(n, type(models.load(n)).__name__) for n in SHIPPED]"
    )
    place, *networks = run_installed(installed, code).splitlines()
    assert place == str(installed / "ephys" / "__init__.py")
    kinds = [line.split()[1] for line in networks]
    assert kinds == ["SuperResolution"] * 4 + ["TwoLayerCNN"] * 6


def test_an_installed_wheel_has_its_template_types_and_cards(installed: Path) -> None:
    for name in ("report.html.jinja", "macaque_v1.json", "py.typed"):
        assert (installed / "ephys" / name).is_file()
    weights = installed / "ephys" / "models" / "weights"
    checkpoints = {path.stem for path in weights.glob("*.safetensors")}
    cards = {path.stem for path in weights.glob("*.md")}
    assert len(checkpoints) == 10
    assert cards == checkpoints


def modules() -> list[str]:
    names = ["ephys"]
    for package in ("ephys", "ephys.stimuli", "ephys.models"):
        path = importlib.import_module(package).__path__
        names += [f"{package}.{found.name}" for found in pkgutil.iter_modules(path)]
    return sorted({name for name in names if not name.endswith("__main__")})


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_function_has_a_docstring() -> None:
    bare = []
    for name in modules():
        module = importlib.import_module(name)
        assert module.__doc__, name
        for key, value in vars(module).items():
            ours = getattr(value, "__module__", None) == name
            if ours and callable(value) and not key.startswith("_") and not value.__doc__:
                bare.append(f"{name}.{key}")
    assert bare == []
