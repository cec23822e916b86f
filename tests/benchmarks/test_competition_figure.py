"""The figure of competition through training shows what was found, and says what it leaves out."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent.parent
EPOCHS = range(4)


@pytest.fixture(scope="module")
def figure() -> Figure:
    path = ROOT / "benchmarks" / "competition_figure.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.over_training(planted())


def planted() -> pd.DataFrame:
    """Excess is 0.1 an epoch, and one more a seed; few filters have an orientation at first."""
    rows = [
        {
            **{"normalization": "group", "start": start, "seed": seed, "epoch": epoch},
            **{"property": name, "statistic": "difference", "expected": 0.5, "effect_size": 2.0},
            "observed": 0.5 + seed + 0.1 * epoch,
            "n_units": 10 if name == "orientation" and epoch < 2 - seed else 64,
        }
        for start in ("independent", "alike")
        for name in ("hue axis", "another", "orientation", "filter")
        for seed in (0, 1)
        for epoch in EPOCHS
    ]
    return pd.DataFrame(rows)


def line(ax: Axes) -> np.ndarray:
    lines = [np.asarray(one.get_xydata()) for one in ax.lines if one.get_linewidth() == 2]
    (found,) = [xy for xy in lines if xy.size]  # of the one normalization that there is
    return found


def test_panels_are_in_the_order_of_the_table_and_others_last(figure: Figure) -> None:
    first_row = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert first_row == ["filter", "orientation", "hue axis", "another"]


def test_every_panel_has_its_epochs(figure: Figure) -> None:
    figure.draw_without_rendering()
    for ax in figure.axes:
        assert {"0", "2"} <= {label.get_text() for label in ax.get_xticklabels()}


def test_lines_are_means_over_seeds_and_say_where_they_begin_late(figure: Figure) -> None:
    for ax, late in zip(figure.axes, [False, True, False, False] * 2, strict=True):
        epochs = np.array(EPOCHS)[2 if late else 0 :]
        np.testing.assert_allclose(line(ax), np.stack([epochs, 0.5 + 0.1 * epochs], axis=1))
        said = [text.get_text() for text in ax.texts]
        assert said == (["before epoch 2 too few\nfilters (< 32) have one"] if late else [])


def test_each_row_says_how_it_started(figure: Figure) -> None:
    assert "independently" in figure.axes[0].get_ylabel()
    assert "alike in groups" in figure.axes[4].get_ylabel()
