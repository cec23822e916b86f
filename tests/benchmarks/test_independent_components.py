"""Independent components: planted sources are found, and photographs have colored edges."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ephys.data_folders import split_folder
from ephys.filters import chromatic_energy, preferred_orientation

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = ROOT / "benchmarks" / "independent_components.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_planted_sources_are_found(benchmark: ModuleType) -> None:
    rng = np.random.default_rng(1)
    samples, count, dimension = 20_000, 6, 10
    sources = rng.laplace(size=(samples, count)) / 2**0.5
    mixing = rng.normal(size=(count, dimension))
    filters = benchmark.independent_components(sources @ mixing + 3, count, rng)
    gains = abs(filters @ mixing.T)  # (component, source)
    # One source each, in any order and with any sign. The cross-talk that is left is of the order
    # of one over the root of the number of samples; 5 times as much never was among 36.
    found = gains.argmax(1)
    assert sorted(found) == list(range(count))
    assert abs(gains - np.eye(count)[found]).max() < 5 / samples**0.5


def test_basis_pictures_are_the_inverse_of_the_filters(benchmark: ModuleType) -> None:
    filters = np.random.default_rng(2).normal(size=(5, 3, 4, 4))
    pictures = benchmark.basis(filters)
    answers = np.einsum("icyx,jcyx->ij", filters, pictures)
    np.testing.assert_allclose(answers, np.eye(5), atol=1e-12)


def test_what_does_not_converge_is_said(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "MOST_STEPS", 2)
    rng = np.random.default_rng(3)
    with pytest.raises(RuntimeError, match="no convergence in 2 steps"):
        benchmark.independent_components(rng.laplace(size=(1000, 5)), 5, rng)


def test_photographs_have_oriented_and_color_opponent_components(
    benchmark: ModuleType, shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = split_folder(shared_data("bsds500"), "train")
    monkeypatch.setattr(benchmark, "PATCHES", 10_000)
    filters = benchmark.photograph_components(folder)
    assert filters.shape == (64, 3, 7, 7)
    monkeypatch.setattr(benchmark, "TOLERANCE", 2)  # stop after a step from a random start
    first_step = benchmark.photograph_components(folder)
    oriented, before = (
        np.isfinite(preferred_orientation(weights).values) for weights in (filters, first_step)
    )
    assert oriented.mean() > before.mean() + 0.3
    energy, mixed = (chromatic_energy(weights).values for weights in (filters, first_step))
    assert ((energy > 0.5) & oriented).any()
    # Color comes apart from luminance, which a random rotation mixes.
    decided, undecided = (((e < 0.1) | (e > 0.9)).mean() for e in (energy, mixed))
    assert decided > undecided + 0.3
