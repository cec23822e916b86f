"""Modulation: cells whose F1 and F0 are in the book."""

import math
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ephys.models.gabor_bank import GaborBank
from ephys.models.input_format import InputFormat
from ephys.modulation import f1_amplitude, f1_f0, larger_component, simple_or_complex
from ephys.recording import record
from ephys.selectivity import dsi
from ephys.stimuli import protocols
from ephys.tuning import tuning_curve

EPS = np.finfo(float).eps


def phases(values: np.ndarray) -> xr.DataArray:
    """Responses (..., phase) as a labelled array of units."""
    dims = {1: (), 2: ("unit",), 3: ("unit", "diameter")}[np.ndim(values)]
    count = np.shape(values)[-1]
    attributes = {"units": "degree"}
    return xr.DataArray(
        values, {"phase": ("phase", np.arange(count) * 360 / count, attributes)}, (*dims, "phase")
    )


def cosine(count: int, at: float = 0.0) -> np.ndarray:
    return np.cos(2 * np.pi * np.arange(count) / count - np.deg2rad(at))


# Closed forms.


@pytest.mark.parametrize("count", [4, 8, 16, 64, 1024])
def test_the_ratio_of_a_half_rectified_cosine_is_n_half_tan_pi_over_n(count: int) -> None:
    # F1 is 2/n sum of cos^2 over half the circle, 1/2; F0 is 1/n sum of cos, cot(pi/n)/n.
    measured = f1_f0(phases(np.maximum(cosine(count), 0))).item()
    expected = count / 2 * np.tan(np.pi / count)
    assert measured == pytest.approx(expected, rel=2 * count * EPS)


def test_the_ratio_of_a_finely_sampled_half_rectified_cosine_is_pi_half() -> None:
    count = 4096
    # x tan(1/x) is 1 + 1/(3 x^2) + ..., with x = n / pi.
    error = np.pi / 2 * (np.pi / count) ** 2 / 2
    measured = f1_f0(phases(np.maximum(cosine(count), 0))).item()
    assert measured == pytest.approx(np.pi / 2, abs=error)


@given(
    count=st.integers(4, 32),
    depth=st.floats(0, 1),
    at=st.floats(0, 360),
    gain=st.floats(1e-6, 1e6),
)
@settings(max_examples=60, deadline=None)
def test_the_ratio_of_a_raised_cosine_is_its_depth_at_any_phase_and_gain(
    count: int, depth: float, at: float, gain: float
) -> None:
    curve = phases(gain * np.maximum(1 + depth * cosine(count, at), 0))
    assert f1_f0(curve).item() == pytest.approx(depth, abs=4 * count * EPS)
    assert f1_amplitude(curve).item() == pytest.approx(gain * depth, abs=4 * count * EPS * gain)


@pytest.mark.parametrize("harmonic", [2, 3, 4])
def test_other_harmonics_do_not_count(harmonic: int) -> None:
    angles = np.deg2rad(np.arange(16) * 22.5)
    curve = phases(1 + np.cos(harmonic * angles))
    assert f1_f0(curve).item() == pytest.approx(0, abs=16 * EPS)


def test_with_as_few_phases_as_are_taken_a_complex_cell_is_not_simple() -> None:
    """Which at three phases it would be: there twice the frequency looks like the frequency."""
    curve = phases(np.maximum(np.cos(2 * np.deg2rad(np.arange(4) * 90)), 0))
    assert f1_f0(curve).item() == pytest.approx(0, abs=4 * EPS)
    three = phases(np.maximum(np.cos(2 * np.deg2rad(np.arange(3) * 120)), 0))
    with pytest.raises(ValueError, match=r"phase runs 0 to 240 degrees in 3 .* at least 4"):
        f1_f0(three)


def test_one_answered_phase_has_the_largest_ratio_of_all_2() -> None:
    assert f1_f0(phases(np.eye(8))).values == pytest.approx(np.full(8, 2), abs=4 * EPS)


@given(responses=st.lists(st.floats(0, 1e6), min_size=4, max_size=24).filter(lambda r: sum(r) > 1))
@settings(max_examples=60, deadline=None)
def test_the_ratio_is_that_of_the_allen_institute_and_at_most_2(responses: list[float]) -> None:
    # AMP = 2 |fft| / n, F0 = AMP[0] / 2, F1 = AMP[1].
    amplitudes = 2 * np.abs(np.fft.fft(responses)) / len(responses)
    measured = f1_f0(phases(np.array(responses))).item()
    error = 8 * len(responses) * EPS
    assert measured == pytest.approx(amplitudes[1] / (0.5 * amplitudes[0]), abs=error)
    assert measured <= 2 + error


def test_a_cycle_of_time_is_a_cycle_of_phase() -> None:
    values = np.maximum(cosine(8, 30), 0)
    times = xr.DataArray(values, {"time": np.arange(8) / 8 / 4}, "time")
    measured = f1_f0(times, "time", period=1 / 4).item()
    assert measured == f1_f0(phases(values)).item()
    assert f1_amplitude(times, "time", period=1 / 4).item() == pytest.approx(0.5, abs=8 * EPS)


# The blank.


@pytest.mark.parametrize("blank", [0.0, 0.25, 0.75])
def test_the_mean_is_above_the_blank_where_one_is_given(blank: float) -> None:
    curve = phases(np.stack([1 + 0.5 * cosine(8)] * 2)).assign_coords(blank=("unit", [blank, 0]))
    measured = f1_f0(curve, blank=curve["blank"])
    assert measured.values == pytest.approx([0.5 / (1 - blank), 0.5], abs=32 * EPS)


# What is undefined.


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(8),
        cosine(8),  # linear: of mean 0 but for rounding
        cosine(8) + 1e-12,
        1 + 1.1 * cosine(8),
        -1 - cosine(8),
        np.where(np.arange(8) == 3, np.nan, 1.0),
        np.where(np.arange(8) == 3, np.inf, 1.0),
    ],
    ids=["silent", "linear", "nearly linear", "negative somewhere", "negative", "nan", "infinite"],
)
def test_a_cell_without_a_ratio_has_nan_and_spoils_no_other(values: np.ndarray) -> None:
    simple = 1 + cosine(8)
    measured = f1_f0(phases(np.stack([simple, values, simple])))
    assert np.isnan(measured[1])
    assert measured[[0, 2]].values == pytest.approx([1, 1], abs=16 * EPS)


def test_a_cell_that_does_not_exceed_its_blank_has_no_ratio() -> None:
    curve = phases(np.stack([1 + 0.5 * cosine(8)] * 3))
    blank = xr.DataArray([1.0, 2.0, np.nan], dims="unit")
    assert f1_f0(curve, blank=blank)[1:].isnull().all()
    # Of a mean that is the blank but for rounding, the ratio is nothing or rounding's.
    assert not f1_f0(curve, blank=blank)[0] < 1e12


def test_the_amplitude_of_a_linear_cell_is_defined() -> None:
    curve = phases(np.stack([3 * cosine(8, 77), np.full(8, np.nan)]))
    assert f1_amplitude(curve).values == pytest.approx([3, np.nan], abs=48 * EPS, nan_ok=True)


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        (np.linspace(0, 360, 9), "0 to 360 degrees in 9 values; 360 is 0 on"),
        (np.array([0.0, 180.0]), "0 to 180 degrees in 2 values;"),
        (np.array([0.0, 120.0, 240.0]), "0 to 240 degrees in 3 values;"),
        (np.array([0.0, 90.0, 180.0, 225.0]), "0 to 225 degrees in 4 values;"),
    ],
    ids=["both ends", "two phases", "three phases", "not all around"],
)
def test_phases_that_do_not_go_around_once_and_evenly_are_refused(
    angles: np.ndarray, message: str
) -> None:
    curve = xr.DataArray(np.ones((2, len(angles))), {"phase": angles}, ("diameter", "phase"))
    for measure in (f1_f0, f1_amplitude, lambda c: larger_component(c, "diameter")):
        with pytest.raises(ValueError, match=f"phase runs {message} a circle of 360"):
            measure(curve)


def test_times_of_more_than_a_cycle_are_refused() -> None:
    curve = xr.DataArray(np.ones(8), {"time": np.arange(8) / 16}, "time")
    with pytest.raises(ValueError, match=r"time runs 0 to 0.4375 seconds.*circle of 0.25 seconds"):
        f1_f0(curve, "time", period=1 / 4)


# Simple or complex.


def test_cells_are_simple_above_1() -> None:
    ratio = xr.DataArray([0.0, 1.0, 1 + 1e-9, np.pi / 2, np.inf, np.nan], dims="unit")
    expected = ["complex", "complex", "simple", "simple", "simple", ""]
    assert simple_or_complex(ratio).values.tolist() == expected


class Cells(nn.Module):
    """The simple cells of the Gabor bank, and of each four phases of them a complex one."""

    def __init__(self) -> None:
        super().__init__()
        self.simple, self.complex = GaborBank(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        cells = self.simple(images)  # (image, 64, row, column), phases fastest
        energies = cells.square().unflatten(1, (16, 4)).sum(2).sqrt()
        return self.complex(energies)


@pytest.mark.parametrize("dim", ["phase", "time"])
def test_cells_of_the_gabor_bank_are_simple_and_their_energies_complex(dim: str) -> None:
    frequencies = [10 / 7, 2.0, 15 / 7, 3.0]  # those of the bank
    if dim == "phase":
        stimuli = protocols.orientation(orientations=8, spatial_frequencies=frequencies)
    else:
        stimuli = protocols.direction(directions=8, spatial_frequencies=frequencies)
    shown = InputFormat(channels=1, height_px=48, width_px=48, pixels_per_degree=15.0)
    model = Cells().eval()
    responses = record(model, stimuli, ["simple", "complex"], input_format=shown)
    ratio = f1_f0(tuning_curve(responses, dim), dim, period=360 if dim == "phase" else 1 / 4)
    assert (simple_or_complex(ratio) == responses["layer"]).all()
    # Odd filters have no mean, so answer a half-rectified cosine; of float32 sums of 441 products.
    odd = np.flatnonzero(model.simple.cells["phase"] % 180 == 90)
    expected = 4 * np.tan(np.pi / 8)
    np.testing.assert_allclose(ratio[odd], expected, rtol=1e-4)
    if dim == "time":
        # Still frames tell no direction: both go through the same images.
        still = dsi(tuning_curve(responses, "direction"))
        np.testing.assert_allclose(still, 0, atol=1e-6)


# The larger component.


def test_a_curve_is_of_the_component_with_the_larger_peak() -> None:
    sizes = np.array([1.0, 2.0, 1.5])[:, None]
    simple = sizes * np.maximum(cosine(8), 0)
    complex_ = sizes * (1 + 0.2 * cosine(8))
    linear = sizes * cosine(8)
    curves = phases(np.stack([simple, complex_, linear])).assign_coords(
        diameter=[1.0, 2.0, 4.0], blank=("unit", [0.0, 0.25, 0.0])
    )
    measured = larger_component(curves, "diameter", blank=curves["blank"])
    assert measured.dims == ("unit", "diameter")
    assert measured["component"].values.tolist() == ["F1", "F0", "F1"]
    expected = np.stack([0.5 * sizes[:, 0], sizes[:, 0] - 0.25, sizes[:, 0]])
    np.testing.assert_allclose(measured, expected, rtol=16 * EPS)


def test_the_blank_decides_which_component_is_larger() -> None:
    curves = phases(np.stack([[1 + 0.6 * cosine(8)]] * 2)).assign_coords(diameter=[1.0])
    blank = xr.DataArray([0.3, 0.5], dims="unit")
    measured = larger_component(curves, "diameter", blank=blank)
    assert measured["component"].values.tolist() == ["F0", "F1"]
    assert measured.values[:, 0] == pytest.approx([0.7, 0.6], abs=16 * EPS)
    assert larger_component(curves, "diameter")["component"].values.tolist() == ["F0", "F0"]


def test_a_curve_with_a_missing_response_is_of_no_component() -> None:
    curves = phases(np.ones((2, 3, 8))).assign_coords(diameter=[1.0, 2.0, 4.0])
    curves[1, 2, 5] = np.nan
    measured = larger_component(curves, "diameter")
    assert measured["component"].values.tolist() == ["F0", ""]
    assert measured[1].isnull().all()
    assert (measured[0] == 1).all()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_larger_component_is_that_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, blank = rng.gamma(0.5, size=(3, 4, 8)), rng.uniform(size=3)
    measured = larger_component(
        phases(values).assign_coords(diameter=np.arange(4)),
        "diameter",
        blank=xr.DataArray(blank, dims="unit"),
    )
    for unit in range(3):
        f0 = [math.fsum(row) / 8 - blank[unit] for row in values[unit]]
        f1 = [abs(np.fft.fft(row)[1]) / 4 for row in values[unit]]
        larger = f1 if max(f1) > max(f0) else f0
        np.testing.assert_allclose(measured[unit], larger, atol=64 * EPS)


# Dask arrays.

MEASURES: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "f1_f0": f1_f0,
    "above blank": lambda c: f1_f0(c, blank=c["blank"]),
    "f1_amplitude": f1_amplitude,
    "class": lambda c: simple_or_complex(f1_f0(c)),
    "larger": lambda c: larger_component(c, "diameter"),
    "larger above blank": lambda c: larger_component(c, "diameter", blank=c["blank"]),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_measures_of_a_dask_array_are_dask_arrays_of_the_same_values(name: str, dtype: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    rng = np.random.default_rng(77)
    values = (8 * rng.gamma(0.5, size=(5, 3, 8))).astype(dtype)
    values[1], values[3, 1, 1] = 0, -1
    curves = phases(values).assign_coords(
        diameter=[1.0, 2.0, 4.0], blank=("unit", rng.uniform(size=5))
    )
    curves = curves.transpose("phase", "diameter", "unit")
    with dask.config.set(scheduler=refuse):
        lazy = MEASURES[name](curves.chunk(unit=2, phase=3))
    eager = MEASURES[name](curves)
    assert lazy.chunks is not None
    assert lazy.dtype == eager.dtype
    xr.testing.assert_identical(lazy.compute(), eager)
