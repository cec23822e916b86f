"""Imports go one way, and what is light stays light."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "ephys": ROOT / "ephys",
    "ephys.stimuli": ROOT / "stimuli",
    "ephys.models": ROOT / "models",
}
ROWS = [
    {"visual_field", "nearest", "data_folders", "display", "ranks", "rounding"},
    {"stimuli", "models", "responses"},
    {"electrodes", "tracing", "receptive_field", "cropping", "recording", "mapping"}
    | {"check_maps"}
    | {"tuning", "selectivity", "contrast", "statistics", "reference"}
    | {"filters", "fits", "shapes", "solver", "curve_fits", "curve_shapes", "separable"}
    | {"frequency", "modulation", "suppression"}
    | {"color", "cones", "opponency", "harris"}
    | {"permutation", "rank_tests", "multiple_comparisons", "responsiveness"}
    | {"similarity", "groups", "grouping"}
    | {"waves", "photometry", "verification", "macaque_v1"},
    {"figures", "report", "overview", "measures", "tables", "analysis", "experiment", "export"}
    | {"comparison"}
    | {*("catalog", "contact_sheet", "panels", "color_figures", "group_figures")},
    {"cli", "__main__"},
]
MEASURES = {"responses", "tuning", "selectivity", "contrast", "statistics", "reference"} | {
    "rounding",
    *("fits", "shapes", "solver", "frequency", "modulation", "suppression", "macaque_v1"),
    *("filters", "check_maps"),
    *("curve_fits", "curve_shapes", "separable"),
    *("color", "cones", "opponency", "harris"),
    *("permutation", "rank_tests", "multiple_comparisons", "responsiveness", "measures"),
    "comparison",
    *("similarity", "groups", "grouping"),
}


def imports() -> dict[str, set[str]]:
    """What each module of the project imports, its functions' imports included."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.glob("*.py"):
            name = package if path.stem == "__init__" else f"{package}.{path.stem}"
            targets = set()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    targets |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    assert node.module is not None, f"{path} imports relatively"
                    below = {f"{node.module}.{alias.name}" for alias in node.names}
                    targets |= {node.module} | {b for b in below if b in MODULES}
            found[name] = targets
    return found


MODULES = {
    package if path.stem == "__init__" else f"{package}.{path.stem}"
    for package, folder in FOLDERS.items()
    for path in folder.glob("*.py")
}


def part(module: str) -> str:
    """``stimuli`` of ``ephys.stimuli.gratings``."""
    return module.split(".")[1]


def row(module: str) -> int:
    (found,) = [index for index, names in enumerate(ROWS) if part(module) in names]
    return found


def test_every_module_has_its_row() -> None:
    assert {part(module) for module in MODULES - {"ephys"}} == set().union(*ROWS)


def test_no_module_imports_one_of_a_later_row() -> None:
    wrong = [
        (module, target)
        for module, targets in imports().items()
        for target in targets & MODULES - {"ephys"}
        if module != "ephys" and row(target) > row(module)
    ]
    assert wrong == []


def test_stimuli_and_models_never_import_each_other() -> None:
    wrong = [
        (module, target)
        for module, targets in imports().items()
        for target in targets & MODULES
        if {part(m) for m in (module, target) if m != "ephys"} == {"stimuli", "models"}
    ]
    assert wrong == []


def test_no_imports_go_in_a_circle() -> None:
    graph = {
        module: targets & MODULES - {"ephys", module}
        for module, targets in imports().items()
        if module != "ephys"
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_only_figures_import_matplotlib() -> None:
    using = {
        module
        for module, targets in imports().items()
        if any(target.split(".")[0] == "matplotlib" for target in targets)
    }
    # analysis names the type of the figure that it returns, for type checkers alone.
    assert using == {
        *("ephys.figures", "ephys.color_figures", "ephys.group_figures"),
        *("ephys.contact_sheet", "ephys.analysis"),
    }


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_measures_load_no_torch(measure: str) -> None:
    assert "torch" not in loaded_by(f"import ephys.{measure}")


def test_importing_ephys_loads_nothing_heavy() -> None:
    assert not loaded_by("import ephys") & {"torch", "numpy", "xarray", "matplotlib", "pandas"}


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "xarray", "matplotlib", "pandas"}
    assert not loaded_by("import ephys.cli") & heavy


def test_the_check_of_what_is_loaded_can_fail() -> None:
    assert "torch" in loaded_by("import ephys; ephys.record")
