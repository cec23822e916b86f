"""Tuning curves: of planted units, and with widths that are in the book."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.tuning import (
    OVERSAMPLING,
    align,
    check_circle,
    check_rising,
    half_width,
    preferred,
    tuning_curve,
)

ORIENTATIONS = np.arange(25) * 7.2


def curve(values: np.ndarray, orientations: np.ndarray = ORIENTATIONS) -> xr.DataArray:
    """Responses (..., orientation) as a labelled array of units."""
    dims = {1: (), 2: ("unit",), 3: ("unit", "contrast")}[np.ndim(values)]
    attributes = {"units": "degree", "long_name": "orientation"}
    return xr.DataArray(
        values, {"orientation": ("orientation", orientations, attributes)}, (*dims, "orientation")
    )


def von_mises(kappa: float, center: float, orientations: np.ndarray = ORIENTATIONS) -> np.ndarray:
    """exp(kappa (cos 2(theta - center) - 1)): 1 at its peak."""
    return np.exp(kappa * (np.cos(2 * np.deg2rad(orientations - center)) - 1))


def triangle(center: float, base: float, orientations: np.ndarray) -> np.ndarray:
    """1 at its peak, falling straight to 0 at ``base`` degrees on either side."""
    away = np.abs((orientations - center + 90) % 180 - 90)
    return np.maximum(1 - away / base, 0)


# Half-width: closed forms.


def width_error(
    function: Callable[[np.ndarray], np.ndarray], width: float, count: int, level: float
) -> float:
    """How far the interpolated width of a smooth curve may be off, in degrees.

    A cubic spline through points h apart is off by at most 5/384 h^4 max|f''''|, and its second
    derivative by 3/8 h^2 max|f''''| (Hall & Meyer 1976, Journal of Approximation Theory 16:105).
    The straight line between its values h/10 apart, and a peak that lies between two of them, are
    each off by at most (h/10)^2 max|s''| / 8. What the peak is off by counts by the level. Values
    turn into degrees by the smallest slope around the crossing.
    """
    dense = np.arange(720) / 4
    spectrum = np.fft.fft(function(dense))
    angular = 2j * np.pi * np.fft.fftfreq(720, 1 / 4)  # per degree
    first, second, fourth = (np.abs(np.fft.ifft(angular**n * spectrum).real) for n in (1, 2, 4))
    h = 180 / count
    second_of_spline = second.max() + 3 / 8 * h**2 * fourth.max()
    of_spline = 5 / 384 * h**4 * fourth.max()
    of_lines = (h / OVERSAMPLING) ** 2 * second_of_spline / 8
    near = np.abs(np.abs((dense + 90) % 180 - 90) - width) < h / 4 + 1 / 4
    return float((1 + level) * (of_spline + of_lines) / first[near].min())


@pytest.mark.parametrize("count", [12, 25, 36])
@pytest.mark.parametrize("center", [0.0, 50.4, 61.7])
@pytest.mark.parametrize("level", [0.5, 1 / np.sqrt(2)])
@pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0, 4.0])
def test_the_width_of_a_von_mises_curve_is_that_of_its_formula(
    kappa: float, level: float, center: float, count: int
) -> None:
    # kappa (cos 2w - 1) = ln level
    expected = np.rad2deg(np.arccos(1 + np.log(level) / kappa)) / 2
    orientations = np.arange(count) * 180 / count
    measured = half_width(curve(von_mises(kappa, center, orientations), orientations), level=level)
    error = width_error(lambda angles: von_mises(kappa, 0, angles), expected, count, level)
    assert measured.item() == pytest.approx(expected, abs=error)


def test_the_width_of_a_raised_cosine_is_45_degrees() -> None:
    # (1 + cos 2 theta) / 2 is at half its height where cos 2 theta is 0.
    values = (1 + np.cos(2 * np.deg2rad(ORIENTATIONS - 36))) / 2

    def function(angles: np.ndarray) -> np.ndarray:
        return (1 + np.cos(2 * np.deg2rad(angles))) / 2

    error = width_error(function, 45, 25, 0.5)
    assert error < 0.02  # the bound says something
    assert half_width(curve(values)).item() == pytest.approx(45, abs=error)


@pytest.mark.parametrize("base", [30.0, 60.0, 80.0])
@pytest.mark.parametrize("center", [0.0, 45.0, 175.0])
@pytest.mark.parametrize("level", [0.25, 0.5, 0.75])
def test_the_width_of_a_triangle_is_a_share_of_its_base(
    base: float, center: float, level: float
) -> None:
    # Where the crossing falls on a measured point the spline is exact, and by symmetry it has its
    # peak on the corner; what is left is rounding, of numbers of degrees.
    orientations = np.arange(0, 180, 2.5)
    measured = half_width(curve(triangle(center, base, orientations), orientations), level=level)
    assert measured.item() == pytest.approx((1 - level) * base, abs=1e-10)


def test_the_width_of_an_uneven_curve_is_the_mean_of_its_two_sides() -> None:
    # Half height is 16 degrees to the left of the peak and 30 to the right, both on measured
    # points, and the peak is symmetric for 20 points on either side: what lies beyond reaches it
    # multiplied by 0.27 (2 - sqrt 3, of a cubic spline) for each of them, 4e-12.
    orientations = np.arange(360) / 2
    left, right = [58.0, 70.0, 80.0], [90.0, 130.0]
    corners = np.interp(orientations, [*left, *right], [0.2, 0.8, 1.0, 0.8, 0.2])
    assert half_width(curve(corners, orientations)).item() == pytest.approx(23, abs=1e-10)


def test_the_width_is_looked_for_all_around_the_circle() -> None:
    # Half height is 16 degrees to the left of the peak and 130 to the right, at 210, which is 30.
    # What the peak is off by, 0.27^20 = 4e-12, counts by half over the slope there of 0.0025.
    orientations = np.arange(360) / 2
    onward = np.where(orientations < 58, orientations + 180, orientations)
    corners = np.interp(onward, [58, 70, 80, 90, 230, 238], [0.2, 0.8, 1.0, 0.8, 0.45, 0.2])
    assert half_width(curve(corners, orientations)).item() == pytest.approx(73, abs=1e-8)


@pytest.mark.parametrize(("center", "width"), [(60.0, 0.58), (67.5, 0.89)])
def test_a_curve_that_the_points_are_too_far_apart_for_has_the_width_of_the_spline(
    center: float, width: float
) -> None:
    """As the docstring says, whether the peak is at a point or between two."""
    orientations = np.arange(12) * 15.0
    for half in (2.0, 4.0):  # degrees
        kappa = np.log(2) / (1 - np.cos(2 * np.deg2rad(half)))
        values = von_mises(kappa, center, orientations)
        measured = half_width(curve(values, orientations)).item()
        assert measured / 15 == pytest.approx(width, abs=0.01)


def test_the_width_is_that_of_the_peak_and_not_of_a_lower_bump() -> None:
    # The bump begins 24 points from the peak, which it reaches as 0.27^24.
    orientations = np.arange(0, 180, 2.5)
    values = triangle(50, 20, orientations) + 0.8 * triangle(140, 30, orientations)
    assert half_width(curve(values, orientations)).item() == pytest.approx(10, abs=1e-10)


# Half-width: laws.


@given(
    kappa=st.floats(0.5, 8),
    center=st.floats(0, 180),
    floor=st.floats(0, 0.1),
    turn=st.integers(0, 24),
    gain=st.floats(1e-6, 1e6),
)
@settings(max_examples=40, deadline=None)
def test_the_width_ignores_gain_and_rotation(
    kappa: float, center: float, floor: float, turn: int, gain: float
) -> None:
    values = floor + von_mises(kappa, center)
    original = half_width(curve(values))
    changed = half_width(curve(gain * np.roll(values, turn)))
    # The slope at half height is above 5e-3 per degree; 1e-10 degrees are 5e-13 of the peak,
    # above the rounding of a spline through 25 points.
    assert np.isfinite(original)
    np.testing.assert_allclose(changed, original, rtol=0, atol=1e-10)


@given(kappa=st.floats(0.5, 8), center=st.floats(0, 180))
@settings(max_examples=30, deadline=None)
def test_the_width_of_the_mirrored_curve_is_the_same(kappa: float, center: float) -> None:
    values = von_mises(kappa, center)
    mirrored = np.roll(values[::-1], 1)  # theta to -theta; the tolerance as above
    np.testing.assert_allclose(
        half_width(curve(mirrored)), half_width(curve(values)), rtol=0, atol=1e-10
    )


@given(levels=st.tuples(st.floats(0.2, 0.95), st.floats(0.2, 0.95)))
@settings(max_examples=30, deadline=None)
def test_the_width_shrinks_towards_the_peak(levels: tuple[float, float]) -> None:
    values = curve(von_mises(2, 33))
    low, high = (half_width(values, level=level).item() for level in sorted(levels))
    assert high <= low


def test_many_curves_are_measured_as_each_is_alone() -> None:
    rng = np.random.default_rng(20417)
    values = np.stack(
        [[von_mises(rng.uniform(0.5, 6), rng.uniform(0, 180)) for _ in range(3)] for _ in range(4)]
    )
    values[1, 2], values[3, 0] = 0, np.nan
    together = half_width(curve(values))
    assert together.dims == ("unit", "contrast")
    for unit, contrast in itertools.product(range(4), range(3)):
        alone = half_width(curve(values[unit, contrast]))
        np.testing.assert_array_equal(together[unit, contrast], alone)


def test_a_direction_of_360_degrees_has_its_width_in_degrees_too() -> None:
    directions = np.arange(24) * 15.0
    values = xr.DataArray(
        triangle(0, 80, directions / 2), {"direction": directions}, "direction"
    )  # base 160 in direction
    width = half_width(values, "direction", level=0.25, period=360)
    assert width.item() == pytest.approx(120, abs=1e-10)  # 8 points from the peak: exact


# Half-width: what is undefined, and what is refused.


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(25),
        np.ones(25),
        1 + 0.2 * np.cos(2 * np.deg2rad(ORIENTATIONS)),  # never falls to half
        np.cos(2 * np.deg2rad(ORIENTATIONS)),  # negative
        -np.ones(25),
        np.where(ORIENTATIONS == 72, np.nan, von_mises(2, 30)),
        np.where(ORIENTATIONS == 72, np.inf, von_mises(2, 30)),
    ],
    ids=["silent", "flat", "too broad", "negative", "all negative", "nan", "infinite"],
)
def test_a_curve_without_a_width_has_none(values: np.ndarray) -> None:
    assert np.isnan(half_width(curve(values)))


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 2.0, np.nan])
def test_a_level_that_is_not_between_0_and_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level={level} is not between 0 and 1"):
        half_width(curve(von_mises(2, 0)), level=level)


NO_CIRCLES = {
    "both ends": (
        np.linspace(0, 180, 13),
        "0 to 180 degrees in 13 values; 180 is 0 on a circle of 180 degrees; leave one out",
    ),
    "half a circle": (
        np.arange(9) * 10.0,
        "0 to 80 degrees in 9 values; a circle of 180 degrees needs 9 values that rise by 20",
    ),
    "uneven": (
        np.array([0.0, 30, 60, 90, 130, 150]),
        "0 to 150 degrees in 6 values; a circle of 180 degrees needs 6 values that rise by 30",
    ),
    "in disorder": (
        np.array([0.0, 60, 30, 90, 120, 150]),
        "0 to 150 degrees in 6 values; a circle of 180 degrees needs 6 values that rise by 30",
    ),
    "two values": (
        np.array([0.0, 90]),
        "0 to 90 degrees in 2 values; a circle of 180 degrees needs at least 3, evenly around it",
    ),
    "one value": (
        np.array([30.0]),
        "30 to 30 degrees in 1 values; a circle of 180 degrees needs at least 3, evenly around it",
    ),
}


@pytest.mark.parametrize("name", NO_CIRCLES)
def test_what_does_not_go_around_the_circle_once_and_evenly_is_refused(name: str) -> None:
    orientations, message = NO_CIRCLES[name]
    values = curve(np.ones(len(orientations)), orientations)
    for measure in (half_width, align):
        with pytest.raises(ValueError, match=f"^orientation runs {message}$"):
            measure(values)


@given(count=st.integers(3, 60), first=st.floats(-180, 180), period=st.sampled_from([180.0, 360.0]))
@settings(max_examples=40, deadline=None)
def test_a_circle_may_start_anywhere(count: int, first: float, period: float) -> None:
    angles = first + np.arange(count) * period / count
    check_circle(xr.DataArray(angles, dims="orientation", name="orientation"), period)


# Preferred.


def test_the_preferred_value_is_where_the_curve_peaks() -> None:
    centers = ORIENTATIONS[[0, 3, 11, 24]]
    curves = curve(np.stack([von_mises(3, center) for center in centers]))
    best = preferred(curves)
    np.testing.assert_array_equal(best, centers)
    assert best.attrs["units"] == "degree"


@given(
    peak=st.integers(0, 24),
    gain=st.floats(1e-6, 1e6),
    offset=st.floats(-100, 100),
)
@settings(max_examples=30, deadline=None)
def test_the_preferred_value_ignores_gain_and_offset(peak: int, gain: float, offset: float) -> None:
    values = von_mises(2, ORIENTATIONS[peak])
    # The peak stands 0.06 above its neighbours, far more than the rounding of 100.
    assert preferred(curve(gain * (values + offset))).item() == ORIENTATIONS[peak]


def test_a_flat_curve_prefers_nothing() -> None:
    flat = np.stack([np.zeros(25), np.full(25, 3.0), np.full(25, np.nan), von_mises(1, 72)])
    np.testing.assert_array_equal(preferred(curve(flat)), [np.nan, np.nan, np.nan, 72])


# Align.


@pytest.mark.parametrize("count", [24, 25])
def test_aligning_brings_every_peak_to_0(count: int) -> None:
    orientations = np.arange(count) * 180 / count
    curves = curve(np.stack([von_mises(2, c, orientations) for c in orientations]), orientations)
    aligned = align(curves)
    assert aligned.dims == ("unit", "relative_orientation")
    relative = aligned["relative_orientation"].values
    # Rounding of the spacing, of at most a few units in the last place of 180.
    expected = (np.arange(count) - count // 2) * 180 / count
    np.testing.assert_allclose(relative, expected, rtol=0, atol=1e-13)
    assert relative.min() >= -90
    assert relative.max() < 90
    # One curve for all, but for the rounding of its angles: 2 kappa 2 1e-13 degrees, in radians.
    shape = np.broadcast_to(von_mises(2, 0, relative), aligned.shape)
    np.testing.assert_allclose(aligned, shape, rtol=1e-14)
    np.testing.assert_array_equal(aligned.sel(relative_orientation=0), 1)


@given(
    centers=st.lists(st.integers(0, 24), min_size=3, max_size=3),
    gains=st.permutations([0.5, 1.0, 2.0]),
)
@settings(max_examples=30, deadline=None)
def test_all_contrasts_of_a_unit_are_turned_alike(centers: list[int], gains: list[float]) -> None:
    values = np.stack(
        [gain * von_mises(2, ORIENTATIONS[c]) for gain, c in zip(gains, centers, strict=True)]
    )
    curves = curve(values[None])
    aligned = align(curves, by="contrast").values[0]
    # By the preferred value of the contrast with the largest response.
    turn = centers[gains.index(2.0)]
    np.testing.assert_array_equal(aligned, np.roll(values, 12 - turn, axis=-1))


def test_a_silent_contrast_of_a_tuned_unit_stays_silent() -> None:
    values = np.stack([np.zeros(25), von_mises(2, 36)])[None]
    aligned = align(curve(values), by="contrast")
    np.testing.assert_array_equal(aligned[0, 0], np.zeros(25))
    assert preferred(aligned[0, 1], "relative_orientation") == 0


def test_an_unrecorded_contrast_of_a_tuned_unit_stays_unrecorded() -> None:
    values = np.stack([np.full(25, np.nan), von_mises(2, 36)])[None]
    aligned = align(curve(values), by="contrast")
    assert np.isnan(aligned[0, 0]).all()
    assert preferred(aligned[0, 1], "relative_orientation") == 0


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 25)),
        np.stack([np.full(25, 1.0), np.full(25, 2.0)]),
        np.stack([np.full(25, np.nan), np.full(25, 2.0)]),
        np.full((2, 25), np.nan),
    ],
    ids=["silent", "tuned to contrast alone", "flat, and unrecorded", "unrecorded"],
)
def test_a_unit_of_flat_curves_cannot_be_aligned(values: np.ndarray) -> None:
    tuned = np.stack([von_mises(2, 36), 2 * von_mises(2, 36)])
    aligned = align(curve(np.stack([values, tuned])), by="contrast")
    assert np.isnan(aligned[0]).all()
    assert np.isfinite(aligned[1]).all()


def test_aligning_does_not_depend_on_the_order_of_dimensions() -> None:
    rng = np.random.default_rng(515)
    curves = curve(rng.uniform(size=(4, 3, 25)))
    aligned = align(curves, by="contrast")
    for dims in itertools.permutations(curves.dims):
        turned = align(curves.transpose(*dims), by="contrast")
        xr.testing.assert_equal(turned.transpose(*aligned.dims), aligned)


def test_the_aligned_axis_says_what_it_is() -> None:
    relative = align(curve(von_mises(2, 0)))["relative_orientation"]
    assert relative.attrs == {"units": "degree", "long_name": "orientation from preferred"}


# Tuning curves, of planted units.

CONTRASTS = np.array([0.1, 0.4, 0.8])
FREQUENCIES = np.array([0.5, 1.0, 2.0, 4.0])
PHASES = np.arange(4) * 90.0
PREFERRED = [(36.0, 1.0), (108.0, 4.0), (0.0, 0.5)]  # orientation, spatial frequency of each unit


def planted_response(unit: int, row: dict[str, float]) -> float:
    """A simple cell: tuned, linear in contrast, modulated by phase about its mean."""
    orientation, frequency = PREFERRED[unit]
    tuned = von_mises(2, orientation, np.array([row["orientation"]]))[0]
    octaves = np.log2(row["spatial_frequency"] / frequency)
    modulation = 1 + 0.9 * np.cos(np.deg2rad(row["phase"] - 30 * unit))
    return row["contrast"] * tuned * np.exp(-(octaves**2) / 2) * modulation


def record(
    axes: dict[str, np.ndarray], units: Callable[[int, dict[str, float]], float]
) -> xr.Dataset:
    rows = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    shuffled = np.random.default_rng(64).permutation(len(rows))
    rows = [rows[i] for i in shuffled]
    values = [[units(unit, row) for unit in range(len(PREFERRED))] for row in rows]
    coordinates = {name: ("stimulus", [row[name] for row in rows], {"units": "x"}) for name in axes}
    unit = {"channel": ("unit", np.arange(len(PREFERRED)))}
    response = ("stimulus", "unit"), values, {"long_name": "response"}
    return xr.Dataset({"response": response}, {**coordinates, **unit})


AXES = {
    "spatial_frequency": FREQUENCIES,
    "orientation": np.arange(10) * 18.0,
    "contrast": CONTRASTS,
    "phase": PHASES,
}
# Means over four phases: a few roundings of float64.
ROUNDING = 8 * np.finfo(float).eps


def test_a_curve_by_contrast_is_the_one_that_was_planted() -> None:
    curves = tuning_curve(record(AXES, planted_response), "orientation", by="contrast")
    assert curves.dims == ("unit", "contrast", "orientation")
    for unit, (orientation, _) in enumerate(PREFERRED):
        expected = CONTRASTS[:, None] * von_mises(2, orientation, AXES["orientation"])
        np.testing.assert_allclose(curves[unit], expected, rtol=ROUNDING)
    np.testing.assert_array_equal(preferred(curves.isel(contrast=-1)), [p[0] for p in PREFERRED])


def test_each_unit_is_looked_at_at_its_own_preferred_spatial_frequency() -> None:
    curves = tuning_curve(record(AXES, planted_response), "orientation", by="contrast")
    noted = curves["spatial_frequency"]
    assert noted.dims == ("unit",)
    np.testing.assert_array_equal(noted, [frequency for _, frequency in PREFERRED])
    assert noted.attrs == {"units": "x"}
    np.testing.assert_array_equal(curves["channel"], [0, 1, 2])


def test_without_a_second_parameter_contrast_too_is_the_preferred_one() -> None:
    curves = tuning_curve(record(AXES, planted_response))
    assert curves.dims == ("unit", "orientation")
    np.testing.assert_array_equal(curves["contrast"], [0.8] * 3)
    np.testing.assert_array_equal(curves["spatial_frequency"], [f for _, f in PREFERRED])
    for unit, (orientation, _) in enumerate(PREFERRED):
        expected = 0.8 * von_mises(2, orientation, AXES["orientation"])
        np.testing.assert_allclose(curves[unit], expected, rtol=ROUNDING)


def test_the_preferred_frequency_is_that_of_the_peak_not_of_the_mean_over_orientations() -> None:
    """A broad weak response to 1 cycle/degree has more area than a sharp strong one to 4."""

    def units(unit: int, row: dict[str, float]) -> float:
        if row["spatial_frequency"] == 4:
            return 1.0 if row["orientation"] == 36 else 0.0
        return 0.9 if row["spatial_frequency"] == 1 else 0.0

    axes = AXES | {"contrast": np.array([1.0])}
    curves = tuning_curve(record(axes, units))
    np.testing.assert_array_equal(curves["spatial_frequency"], [4, 4, 4])
    np.testing.assert_array_equal(preferred(curves), [36, 36, 36])


def test_the_preferred_frequency_is_judged_by_the_mean_over_phase_not_by_one_phase() -> None:
    def units(unit: int, row: dict[str, float]) -> float:
        if row["spatial_frequency"] == 4:
            return 2.0 if row["phase"] == 90 else 0.0  # mean 0.5
        return 1.0 if row["spatial_frequency"] == 2 else 0.0

    curves = tuning_curve(record(AXES, units))
    np.testing.assert_array_equal(curves["spatial_frequency"], [2, 2, 2])
    np.testing.assert_array_equal(curves, np.ones(curves.shape))


def test_phase_can_be_asked_for_instead_of_averaged() -> None:
    curves = tuning_curve(record(AXES, planted_response), "phase", by="contrast")
    assert curves.dims == ("unit", "contrast", "phase")
    for unit in range(3):
        best = {"orientation": PREFERRED[unit][0], "spatial_frequency": PREFERRED[unit][1]}
        assert curves["orientation"][unit] == best["orientation"]
        expected = [
            [planted_response(unit, best | {"contrast": c, "phase": p}) for p in PHASES]
            for c in CONTRASTS
        ]
        np.testing.assert_array_equal(curves[unit], expected)


def test_a_sweep_of_orientation_alone_is_its_own_curve() -> None:
    recorded = record(
        {"orientation": AXES["orientation"]}, lambda unit, row: row["orientation"] + unit
    )
    curves = tuning_curve(recorded)
    np.testing.assert_array_equal(curves, AXES["orientation"] + np.arange(3)[:, None])


def test_a_silent_unit_has_a_curve_of_zeros() -> None:
    curves = tuning_curve(record(AXES, lambda unit, row: 0.0), by="contrast")
    np.testing.assert_array_equal(curves, np.zeros((3, 3, 10)))


def test_a_unit_that_was_not_recorded_has_a_curve_of_nan_and_spoils_no_other() -> None:
    def units(unit: int, row: dict[str, float]) -> float:
        return np.nan if unit == 1 else planted_response(unit, row)

    curves = tuning_curve(record(AXES, units), by="contrast")
    everyone = tuning_curve(record(AXES, planted_response), by="contrast")
    assert np.isnan(curves[1]).all()
    np.testing.assert_array_equal(curves[[0, 2]], everyone[[0, 2]])


def test_a_mean_over_phases_of_which_one_was_not_recorded_is_nan() -> None:
    def units(unit: int, row: dict[str, float]) -> float:
        missing = row["orientation"] == 54 and row["phase"] == 90
        return np.nan if missing else planted_response(unit, row)

    curves = tuning_curve(record(AXES, units), by="contrast")
    assert np.isnan(curves.sel(orientation=54)).all()
    assert np.isfinite(curves.drop_sel(orientation=54)).all()


def test_the_mean_over_phase_counts_no_phase_twice() -> None:
    axes = AXES | {"phase": np.linspace(0, 360, 5)}
    with pytest.raises(ValueError, match=r"phase runs 0 to 360 degrees in 5 values.*circle of 360"):
        tuning_curve(record(axes, planted_response), by="contrast")


def test_the_mean_over_phase_takes_phases_from_all_around_the_circle() -> None:
    opposite = record(AXES | {"phase": np.array([0.0, 180.0])}, planted_response)
    curves = tuning_curve(opposite, by="contrast")
    # Cosines of opposite phases cancel, as those of all four do.
    everyone = tuning_curve(record(AXES, planted_response), by="contrast")
    np.testing.assert_allclose(curves, everyone, rtol=2 * ROUNDING)
    quadrature = record(AXES | {"phase": np.array([0.0, 90.0])}, planted_response)
    with pytest.raises(ValueError, match=r"phase runs 0 to 90 degrees in 2 values.*circle of 360"):
        tuning_curve(quadrature, by="contrast")


def test_a_parameter_that_was_not_shown_is_refused_by_its_name() -> None:
    with pytest.raises(KeyError, match=r"'diameter' is no parameter of these stimuli"):
        tuning_curve(record(AXES, planted_response), by="diameter")


def test_an_incomplete_grid_is_refused() -> None:
    recorded = record(AXES, planted_response).isel(stimulus=slice(1, None))
    with pytest.raises(ValueError, match=r"no stimulus with .*; select a complete grid first"):
        tuning_curve(recorded, by="contrast")


# Gratings that drift, gratings that are masked.

MOVING = {
    "direction": np.arange(12) * 30.0,
    "temporal_frequency": np.array([4.0]),
    "time": np.arange(8) / 8 / 4,
}


def moving_response(unit: int, row: dict[str, float]) -> float:
    """Tuned to a direction of 60, 90 and 120 degrees, and to the frequency of the second unit."""
    tuned = np.exp(np.cos(np.deg2rad(row["direction"] - 60 - 30 * unit)) - 1)
    cycles = row["temporal_frequency"] * row["time"]
    best = 1.0 if row["temporal_frequency"] == (8 if unit == 1 else 4) else 0.25
    return float(best * tuned * (1 + np.cos(2 * np.pi * cycles - unit)))


def test_the_mean_over_time_is_over_the_cycle_of_a_moving_grating() -> None:
    curves = tuning_curve(record(MOVING, moving_response), "direction")
    np.testing.assert_array_equal(preferred(curves, "direction"), [60, 90, 120])
    angles = np.deg2rad(MOVING["direction"] - 60)
    np.testing.assert_allclose(curves[0], np.exp(np.cos(angles) - 1), rtol=2 * ROUNDING)


def test_the_mean_over_time_may_be_over_several_cycles_of_a_faster_one() -> None:
    axes = MOVING | {"temporal_frequency": np.array([0.0, 4.0, 8.0])}
    curves = tuning_curve(record(axes, moving_response), "direction")
    np.testing.assert_array_equal(curves["temporal_frequency"], [4, 8, 4])
    np.testing.assert_allclose(curves.max("direction"), 1, rtol=2 * ROUNDING)


@pytest.mark.parametrize(
    ("times", "frequency"),
    [
        (np.arange(6) / 8 / 4, 4.0),
        (np.linspace(0, 0.25, 9), 4.0),
        (np.arange(8) / 8 / 4, 20.0),  # five cycles in eight times
        (np.array([0.0, 0.1]), 4.0),
    ],
    ids=["part of a cycle", "both ends", "too fast", "two times"],
)
def test_times_that_are_no_whole_cycles_have_no_mean(times: np.ndarray, frequency: float) -> None:
    axes = MOVING | {"time": times, "temporal_frequency": np.array([frequency])}
    recorded = record(axes, lambda unit, row: 1.0)
    with pytest.raises(ValueError, match=r"time runs 0 to .* seconds.*a circle of .* seconds"):
        tuning_curve(recorded, "direction")


PLAIDS = {
    "orientation": np.arange(4) * 45.0,
    "contrast": np.array([0.25, 0.5]),
    "mask_contrast": np.array([0.0, 0.5]),
    "phase": PHASES,
    "mask_phase": np.array([0.0, 90.0, 180.0, 270.0]),
}


def masked_response(unit: int, row: dict[str, float]) -> float:
    """Prefers 0, 45 and 90 degrees; the mask is across, and facilitates orientations of 135."""
    tuned = von_mises(2, 45 * unit, np.array([row["orientation"]]))[0]
    facilitated = 9.0 * (row["orientation"] == 135) * row["mask_contrast"]
    phase = 1 + np.cos(np.deg2rad(row["phase"])) + np.cos(np.deg2rad(2 * row["mask_phase"]))
    return float((row["contrast"] * tuned + facilitated) * phase)


@pytest.mark.parametrize("mask_phases", [[0.0, 90.0, 180.0, 270.0], [0.0, 180.0]])
def test_the_mean_over_phases_of_a_mask_is_over_its_circle(
    mask_phases: list[float],
) -> None:
    recorded = record(PLAIDS | {"mask_phase": np.array(mask_phases)}, masked_response)
    gratings = recorded.isel(stimulus=recorded["mask_contrast"].values == 0)
    curves = tuning_curve(recorded, "contrast", by="mask_contrast", preferred_by=gratings)
    assert curves.dims == ("unit", "mask_contrast", "contrast")
    factor = 2 if mask_phases == [0.0, 180.0] else 1  # the mean of cos 2 p
    expected = factor * np.array([0.25, 0.5])
    for mask in range(2):
        np.testing.assert_allclose(curves[:, mask], [expected] * 3, rtol=2 * ROUNDING)


@pytest.mark.parametrize("phases", [[0.0, 90.0], [0.0, 120.0], [0.0, 90.0, 180.0]])
def test_phases_of_a_mask_that_are_no_circle_are_refused(phases: list[float]) -> None:
    recorded = record(PLAIDS | {"mask_phase": np.array(phases)}, masked_response)
    with pytest.raises(ValueError, match=r"mask_phase runs 0 to .*; a circle of 360 degrees"):
        tuning_curve(recorded, "contrast", by="mask_contrast")


def test_the_preferred_value_is_sought_where_it_is_asked_to_be() -> None:
    recorded = record(PLAIDS, masked_response)
    everywhere = tuning_curve(recorded, "contrast", by="mask_contrast")
    np.testing.assert_array_equal(everywhere["orientation"], [135, 135, 135])
    gratings = recorded.isel(stimulus=recorded["mask_contrast"].values == 0)
    of_gratings = tuning_curve(recorded, "contrast", by="mask_contrast", preferred_by=gratings)
    np.testing.assert_array_equal(of_gratings["orientation"], [0, 45, 90])
    everyone = tuning_curve(recorded, "contrast", by="mask_contrast", preferred_by=recorded)
    xr.testing.assert_identical(everyone, everywhere)


def test_preferred_values_that_were_not_shown_are_refused() -> None:
    recorded = record(PLAIDS, masked_response)
    few = recorded.isel(stimulus=recorded["orientation"].values < 135)
    with pytest.raises(
        ValueError,
        match=r"orientation=\[0.0, 45.0, 90.0\] of preferred_by is not that of the responses, "
        r"\[0.0, 45.0, 90.0, 135.0\]; select what both have",
    ):
        tuning_curve(recorded, "contrast", by="mask_contrast", preferred_by=few)


def test_a_curve_over_phase_is_at_the_preferred_value_of_the_mean_over_it() -> None:
    """As the modulation of a cell is measured at its best grating, not at its best moment."""

    def units(unit: int, row: dict[str, float]) -> float:
        if row["spatial_frequency"] == 4:
            return 2.0 if row["phase"] == 90 else 0.0  # mean 0.5
        return 1.0 if row["spatial_frequency"] == 2 else 0.0

    curves = tuning_curve(record(AXES, units), "phase")
    np.testing.assert_array_equal(curves["spatial_frequency"], [2, 2, 2])
    np.testing.assert_array_equal(curves, np.ones((3, 4)))


@pytest.mark.parametrize("values", [[1.0, 1.0], [2.0, 1.0], [1.0], [np.nan, 1.0], [0.0, np.nan]])
def test_what_does_not_rise_is_refused(values: list[float]) -> None:
    axis = xr.DataArray(values, dims="diameter", name="diameter")
    with pytest.raises(ValueError, match=r"diameter=\[.*\] does not rise in two values or more"):
        check_rising(axis)


def test_what_does_not_begin_above_a_limit_is_refused() -> None:
    axis = xr.DataArray([0.0, 1.0], dims="diameter", name="diameter")
    check_rising(axis)
    with pytest.raises(
        ValueError, match=r"diameter=\[0.0, 1.0\] does not rise from above 0 in two"
    ):
        check_rising(axis, above=0)


# Dask arrays: the same numbers, to the last bit, and none before they are asked for.

CHUNKINGS: list[Mapping[str, int]] = [{"unit": 1}, {"unit": 2}, {"stimulus": 7, "unit": 2}]


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("computed")


def check_lazy(measure: Callable[[Any], Any], data: Any, chunked: Any) -> None:
    """The measure computes nothing of what is chunked, and gives what it gives of the data."""
    with dask.config.set(scheduler=refuse):
        lazy = measure(chunked)
    assert lazy.variable.chunks is not None
    eager = measure(data)
    assert lazy.dtype == eager.dtype
    computed = lazy.compute()
    xr.testing.assert_identical(computed, eager)
    assert [c.dtype for c in computed.coords.values()] == [c.dtype for c in eager.coords.values()]


def noisy(dtype: str) -> xr.Dataset:
    """Eight phases, of which a sum depends on its order; one unit silent, one with a hole."""
    axes = AXES | {"phase": np.arange(8) * 45.0}
    rng = np.random.default_rng(4051)
    recorded = record(axes, lambda unit, row: rng.gamma(1.0) * planted_response(unit, row))
    recorded["response"][:, 1] = 0
    recorded["response"][5, 2] = np.nan
    recorded["blank"] = ("unit", rng.uniform(size=3))
    return recorded.assign(response=recorded["response"].astype(dtype))


@pytest.mark.parametrize("chunks", CHUNKINGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "asked", [("orientation", "contrast"), ("orientation", None), ("phase", "contrast")]
)
def test_curves_of_a_dask_array_are_a_dask_array(
    asked: tuple[str, str | None], dtype: str, chunks: Mapping[str, int]
) -> None:
    recorded = noisy(dtype)
    chunked = recorded.assign(response=recorded["response"].variable.chunk(chunks))
    check_lazy(lambda data: tuning_curve(data, asked[0], by=asked[1]), recorded, chunked)


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_curves_with_preferred_values_sought_elsewhere_are_lazy_too(
    chunks: Mapping[str, int],
) -> None:
    def measure(responses: xr.Dataset) -> xr.DataArray:
        gratings = responses.isel(stimulus=responses["mask_contrast"].values == 0)
        return tuning_curve(responses, "contrast", by="mask_contrast", preferred_by=gratings)

    recorded = record(PLAIDS, masked_response)
    chunked = recorded.assign(response=recorded["response"].variable.chunk(chunks))
    check_lazy(measure, recorded, chunked)


@pytest.mark.parametrize(
    "axes", [{"orientation": AXES["orientation"]}, {k: AXES[k] for k in ("orientation", "phase")}]
)
def test_curves_without_a_preferred_value_are_lazy_too(axes: dict[str, np.ndarray]) -> None:
    recorded = record(axes, lambda unit, row: row["orientation"] + row.get("phase", 0.0) + unit)
    chunked = recorded.assign(response=recorded["response"].variable.chunk({"unit": 2}))
    check_lazy(tuning_curve, recorded, chunked)


@pytest.mark.parametrize("chunks", [{"unit": 1}, {"unit": 3}, {"unit": 2, "orientation": 4}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "measure",
    [
        preferred,
        align,
        lambda curves: align(curves, by="contrast"),
        half_width,
        lambda curves: half_width(curves, level=0.7),
        lambda curves: curves - curves["blank"],
    ],
    ids=["preferred", "align", "align by", "half_width", "half_width at", "above blank"],
)
def test_measures_of_a_dask_array_are_a_dask_array(
    measure: Callable[[Any], Any], dtype: str, chunks: Mapping[str, int]
) -> None:
    rng = np.random.default_rng(8086)
    curves = curve(rng.gamma(0.3, size=(7, 3, 25)).astype(dtype))
    curves[1], curves[2, 1], curves[3, :, 7] = 0, 2, np.nan
    curves = curves.assign_coords(
        contrast=CONTRASTS,
        channel=("unit", np.arange(7)),
        blank=("unit", rng.uniform(size=7).astype(dtype)),
    )
    check_lazy(measure, curves, curves.chunk(chunks))


def test_measures_of_whole_numbers_are_lazy_too() -> None:
    curves = curve(np.random.default_rng(6).integers(0, 9, (4, 3, 25)))
    for measure in (preferred, align, half_width):
        check_lazy(measure, curves, curves.chunk(unit=1))


def test_what_is_no_circle_is_refused_before_anything_is_computed() -> None:
    curves = curve(np.ones((2, 9)), np.arange(9) * 10.0).chunk(unit=1)
    with dask.config.set(scheduler=refuse):
        for measure in (half_width, align):
            with pytest.raises(ValueError, match="orientation runs 0 to 80"):
                measure(curves)


def test_a_unit_is_measured_alike_whoever_is_beside_it() -> None:
    recorded = noisy("float32")
    together = tuning_curve(recorded, by="contrast")
    for unit in range(3):
        alone = tuning_curve(recorded.isel(unit=[unit]), by="contrast")
        xr.testing.assert_identical(alone, together.isel(unit=[unit]))
