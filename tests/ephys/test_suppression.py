"""Suppression: of curves read by hand, and of planted units to which protocols are shown."""

from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ephys.stimuli import protocols
from ephys.stimuli.sweep import StimulusSet
from ephys.suppression import (
    cross_orientation_index,
    iso_minus_cross,
    maximal_inhibition,
    plaid_curves,
    summation_field,
    suppression_index,
    surround_curve,
    surround_diameter,
    surround_suppression,
)
from ephys.tuning import tuning_curve

EPS = np.finfo(float).eps
DIAMETERS = np.array([0.5, 1.0, 2.0, 4.0, 8.0])


def sizes(values: Any, axis: np.ndarray = DIAMETERS) -> xr.DataArray:
    """Responses (..., diameter) as a labelled array of units."""
    values = np.asarray(values)
    coordinate = ("diameter", axis, {"units": "degree"})
    dims = {1: (), 2: ("unit",), 3: ("unit", "contrast")}[values.ndim]
    return xr.DataArray(values, {"diameter": coordinate}, (*dims, "diameter"))


def recorded(
    stimuli: StimulusSet, *units: Callable[[dict[str, np.ndarray]], np.ndarray]
) -> xr.Dataset:
    """What units of a given response answer a protocol: the columns of its table go in."""
    table = {str(name): column.values for name, column in stimuli.table.data_vars.items()}
    coordinates = {
        name: ("stimulus", table[name], stimuli.table[name].attrs)
        for name in ["family", *stimuli.parameters]
    }
    values = np.stack([unit(table) for unit in units], axis=1)
    return xr.Dataset({"response": (("stimulus", "unit"), values)}, coordinates)


def around(orientation: np.ndarray, preferred: float, kappa: float = 2.0) -> np.ndarray:
    return np.exp(kappa * (np.cos(2 * np.deg2rad(orientation - preferred)) - 1))


# Size, by hand.


def test_a_curve_is_read_as_by_hand() -> None:
    curves = sizes(
        [
            [1, 8, 10, 6, 5],
            [1, 9.5, 10, 5.25, 5],
            [1, 2, 3, 4, 5],
            [5, 5, 5, 5, 5],
            [2, 10, 9.5, 9.2, 9.1],
        ]
    )
    assert suppression_index(curves).values == pytest.approx([0.5, 0.5, 0, 0, 0.09], abs=4 * EPS)
    assert summation_field(curves).values.tolist() == [2, 1, 8, 0.5, 1]
    # 6 is above 5.25, which counts; the third and fourth lose nothing, the last too little.
    expected = [8, 4, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(surround_diameter(curves), expected)
    lenient = surround_diameter(curves, margin=0.2, least_suppression=0.05)
    np.testing.assert_array_equal(lenient, [4, 4, np.nan, np.nan, 2])
    assert summation_field(curves, share=0.8).values.tolist() == [1, 1, 4, 0.5, 1]


def test_a_plateau_below_the_blank_is_suppressed_by_more_than_1() -> None:
    curve = sizes([0.2, 1.0, 0.4, -0.15, -0.17])
    assert suppression_index(curve).item() == pytest.approx(1.17, abs=4 * EPS)
    # -0.15 is above -0.17 + 0.05 0.17, and -0.17 is not.
    assert surround_diameter(curve).item() == 8
    assert surround_diameter(curve, margin=0.2).item() == 4


@pytest.mark.parametrize(
    "values",
    [
        [0, 0, 0, 0, 0],
        [-1, -2, -1, -3, -1],
        [0, -1, 0, -2, -1],
        [1, 2, np.nan, 2, 1],
        [1, 2, np.inf, 2, 1],
    ],
    ids=["silent", "negative", "not above 0", "nan", "infinite"],
)
def test_a_unit_without_a_response_has_no_size(values: list[float]) -> None:
    curves = sizes([[1, 8, 10, 6, 5], values, [1, 8, 10, 6, 5]])
    for measure in (suppression_index, summation_field, surround_diameter):
        measured = measure(curves)
        assert np.isnan(measured[1])
        assert np.isfinite(measured[[0, 2]]).all()


def benchmark(curve: np.ndarray, radii: np.ndarray) -> tuple[float, float, float]:
    """Suppression, summation field and surround diameter, as Brain-Score defines them: twice a
    radius, and the last two only of units suppressed by more than 0.1."""
    peak, plateau = max(curve), curve[-1]
    suppression = (peak - plateau) / peak
    if suppression <= 0.1:
        return suppression, np.nan, np.nan
    field = next(r for r, v in zip(radii, curve, strict=True) if v >= 0.95 * peak)
    at_peak = radii[list(curve).index(peak)]
    threshold = plateau + 0.05 * abs(plateau)
    surround = next(r for r, v in zip(radii, curve, strict=True) if v <= threshold and r > at_peak)
    return suppression, 2 * field, 2 * surround


@given(
    responses=st.lists(st.integers(-5, 20), min_size=2, max_size=12).filter(lambda r: max(r) > 0)
)
@settings(max_examples=200, deadline=None)
def test_sizes_are_those_of_brain_score(responses: list[int]) -> None:
    radii = 0.1 * 1.4 ** np.arange(len(responses))
    curve = sizes(np.array(responses, float), 2 * radii)
    suppression, field, surround = benchmark(np.array(responses, float), radii)
    assert suppression_index(curve).item() == suppression
    np.testing.assert_equal(summation_field(curve).where(suppression > 0.1).item(), field)
    np.testing.assert_equal(surround_diameter(curve).item(), surround)


@given(gain=st.integers(-20, 20), scale=st.integers(-3, 3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_sizes_ignore_gain_and_scale_with_the_field(gain: int, scale: int, seed: int) -> None:
    values = np.random.default_rng(seed).gamma(1, size=(6, 5))
    original, changed = sizes(values), sizes(2.0**gain * values, 2.0**scale * DIAMETERS)
    np.testing.assert_array_equal(suppression_index(changed), suppression_index(original))
    for measure in (summation_field, surround_diameter):
        np.testing.assert_array_equal(measure(changed), 2.0**scale * measure(original))


def test_sizes_say_what_they_are_in() -> None:
    curve = sizes([1, 8, 10, 6, 5])
    assert suppression_index(curve).attrs["units"] == "1"
    assert summation_field(curve).attrs["units"] == surround_diameter(curve).attrs["units"]
    assert summation_field(curve).attrs["units"] == "degree"


@pytest.mark.parametrize("axis", [[1.0, 1.0], [2.0, 1.0], [1.0], [np.nan, 1.0]])
def test_sizes_that_do_not_rise_are_refused(axis: list[float]) -> None:
    curve = sizes(np.ones(len(axis)), np.array(axis))
    for measure in (suppression_index, summation_field, surround_diameter):
        with pytest.raises(
            ValueError, match=r"diameter=\[.*\] does not rise in two values or more"
        ):
            measure(curve)


def test_settings_out_of_range_are_refused() -> None:
    curve = sizes([1, 8, 10, 6, 5])
    for share in (0.0, 1.1, -1.0, np.nan):
        with pytest.raises(ValueError, match=f"share={share} is not above 0, and at most 1"):
            summation_field(curve, share=share)
    with pytest.raises(ValueError, match=r"margin=-0\.1 is below 0"):
        surround_diameter(curve, margin=-0.1)
    with pytest.raises(ValueError, match="least_suppression=nan is below 0"):
        surround_diameter(curve, least_suppression=np.nan)


def test_a_planted_unit_is_measured_through_the_protocol() -> None:
    stimuli = protocols.size(diameters=DIAMETERS, orientations=6, phases=4)
    of_diameter = {0.5: 1.0, 1.0: 8.0, 2.0: 10.0, 4.0: 6.0, 8.0: 5.0}

    def unit(table: dict[str, np.ndarray]) -> np.ndarray:
        tuned = around(table["orientation"], 60) * (table["spatial_frequency"] == 1)
        phase = 1 + 0.5 * np.cos(np.deg2rad(table["phase"]))
        return tuned * phase * np.array([of_diameter[d] for d in table["diameter"]])

    curve = tuning_curve(recorded(stimuli, unit), "diameter")
    assert curve["orientation"].item() == 60
    assert suppression_index(curve).item() == pytest.approx(0.5, abs=8 * EPS)
    assert summation_field(curve).item() == 2
    assert surround_diameter(curve).item() == 8


# Surround.

SURROUND = protocols.surround(orientations=8, phases=4, spatial_frequencies=[1, 2])


def with_surround(preferred: float, strength: float, *, floor: float = 0.0) -> Callable[..., Any]:
    """A unit divided by a surround tuned to the orientation of the centre; the preferred centre is
    of 1 degree and 2 cycles per degree."""

    def unit(table: dict[str, np.ndarray]) -> np.ndarray:
        center = around(table["orientation"], preferred) * np.where(
            table["spatial_frequency"] == 2, 1.0, 0.5
        )
        center = center * np.where(table["center_diameter"] == 1, 1.0, 0.25)
        phase = 1 + 0.7 * np.cos(np.deg2rad(table["phase"]))
        pool = strength * (floor + np.cos(np.deg2rad(table["surround_angle"])) ** 2)
        return center * phase / (1 + table["surround_contrast"] * pool)

    return unit


@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
def test_suppression_by_a_planted_surround_is_that_of_its_formula(strength: float) -> None:
    responses = recorded(SURROUND, *(with_surround(p, strength) for p in (0, 67.5, 90)))
    curve = surround_curve(responses)
    assert curve.dims == ("unit", "surround_angle")
    np.testing.assert_array_equal(curve["orientation"], [0, 67.5, 90])
    np.testing.assert_array_equal(curve["center_diameter"], [1, 1, 1])
    np.testing.assert_allclose(curve["center"], 1, rtol=8 * EPS)
    suppression = surround_suppression(curve, curve["center"])
    pool = strength * np.cos(np.deg2rad(curve["surround_angle"].values)) ** 2
    np.testing.assert_allclose(suppression, np.stack([pool / (1 + pool)] * 3), atol=16 * EPS)
    # cos^2 of 0 and of 90 degrees.
    expected = np.full(3, strength / (1 + strength))
    np.testing.assert_allclose(iso_minus_cross(suppression), expected, atol=16 * EPS)


def test_a_surround_without_a_tuning_has_no_difference() -> None:
    def unit(table: dict[str, np.ndarray]) -> np.ndarray:
        return around(table["orientation"], 45) / (1 + table["surround_contrast"])

    curve = surround_curve(recorded(SURROUND, unit))
    suppression = surround_suppression(curve, curve["center"])
    np.testing.assert_array_equal(suppression, np.full((1, 6), 0.5))
    assert iso_minus_cross(suppression).item() == 0


def test_the_centre_is_chosen_by_what_it_does_alone() -> None:
    """A surround that facilitates a centre which the unit does not prefer, to above the best."""

    def unit(table: dict[str, np.ndarray]) -> np.ndarray:
        alone = around(table["orientation"], 0)
        facilitated = (table["part"] == "surround") & (table["orientation"] == 90)
        return np.where(facilitated, 5.0, alone * np.where(table["part"] == "center", 1, 0.75))

    responses = recorded(SURROUND, unit)
    curve = surround_curve(responses)
    assert curve["orientation"].item() == 0
    np.testing.assert_allclose(surround_suppression(curve, curve["center"]), 0.25, rtol=8 * EPS)
    surround_alone = responses.isel(stimulus=responses["part"].values == "surround")
    assert tuning_curve(surround_alone, "surround_angle")["orientation"].item() == 90


def test_suppression_of_no_response_is_undefined_and_facilitation_negative() -> None:
    curve = xr.DataArray(
        [[1.0, 2.0], [1.0, 2.0], [0.0, 4.0]],
        {"surround_angle": [0.0, 90.0], "center": ("unit", [0.0, -1.0, 2.0])},
        ("unit", "surround_angle"),
    )
    suppression = surround_suppression(curve, curve["center"])
    np.testing.assert_array_equal(suppression, [[np.nan] * 2, [np.nan] * 2, [1, -1]])
    np.testing.assert_array_equal(iso_minus_cross(suppression), [np.nan, np.nan, 2])


def test_a_unit_that_was_not_recorded_spoils_no_other() -> None:
    def nothing(table: dict[str, np.ndarray]) -> np.ndarray:
        return np.full(table["orientation"].shape, np.nan)

    def silent(table: dict[str, np.ndarray]) -> np.ndarray:
        return np.zeros(table["orientation"].shape)

    curve = surround_curve(recorded(SURROUND, nothing, with_surround(45, 1.0), silent))
    suppression = surround_suppression(curve, curve["center"])
    assert np.isnan(suppression[[0, 2]]).all()
    assert np.isfinite(suppression[1]).all()


@pytest.mark.parametrize(("angles", "missing"), [([30.0, 90.0], 0), ([0.0, 45.0], 90)])
def test_a_surround_that_was_not_shown_at_both_angles_is_refused(
    angles: list[float], missing: int
) -> None:
    suppression = xr.DataArray([0.5, 0.2], {"surround_angle": angles}, "surround_angle")
    with pytest.raises(ValueError, match=rf"surround_angle=\[.*\] has no {missing} degrees"):
        iso_minus_cross(suppression)


def test_angles_are_those_of_an_orientation() -> None:
    suppression = xr.DataArray(
        [0.5, 0.2, 0.1], {"surround_angle": [180.0, 45, -90]}, "surround_angle"
    )
    assert iso_minus_cross(suppression).item() == 0.4


def test_stimuli_of_another_protocol_have_no_surround() -> None:
    responses = recorded(SURROUND, with_surround(0, 1.0))
    with pytest.raises(KeyError, match="'part' is no parameter of these stimuli"):
        surround_curve(responses.drop_vars("part"))
    center = responses.isel(stimulus=responses["part"].values == "center")
    with pytest.raises(ValueError, match="no stimulus has part='surround'"):
        surround_curve(center)


# Plaids.

CONTRASTS = [0.0, 0.125, 0.25, 0.5]
PLAIDS = protocols.cross_orientation(
    contrasts=CONTRASTS, orientations=6, phases=4, mask_phases=2, spatial_frequencies=[1, 2]
)


def normalized(preferred: float, sigma: float = 0.25) -> Callable[..., Any]:
    """Heeger's model: squared drive over the contrast of both gratings, at 2 cycles per degree."""

    def unit(table: dict[str, np.ndarray]) -> np.ndarray:
        c, m = table["contrast"], table["mask_contrast"]
        drive = c * (table["orientation"] == preferred)
        drive = drive + m * (table["orientation"] == (preferred - 90) % 180)
        return drive**2 * (table["spatial_frequency"] == 2) / (sigma**2 + c**2 + m**2)

    return unit


def test_suppression_by_a_mask_is_that_of_the_normalization_model() -> None:
    sigma = 0.25
    preferred = [0.0, 30.0, 90.0, 150.0]
    plaids = plaid_curves(recorded(PLAIDS, *(normalized(p, sigma) for p in preferred)))
    assert plaids.dims == ("unit", "contrast", "mask_contrast")
    np.testing.assert_array_equal(plaids["orientation"], preferred)
    np.testing.assert_array_equal(plaids["spatial_frequency"], [2, 2, 2, 2])
    c, m = np.array(CONTRASTS)[:, None], np.array(CONTRASTS)
    np.testing.assert_allclose(plaids[0], c**2 / (sigma**2 + c**2 + m**2), rtol=8 * EPS)
    # 1 - (sigma^2 + c^2) / (sigma^2 + c^2 + m^2); nothing is suppressed where nothing is shown.
    expected = (0.5**2 / (sigma**2 + c**2 + 0.5**2))[:, 0]
    expected[0] = np.nan
    for unit in range(4):
        np.testing.assert_allclose(cross_orientation_index(plaids)[unit], expected, rtol=32 * EPS)
    weakest = 0.5**2 / (sigma**2 + 0.125**2 + 0.5**2)
    np.testing.assert_allclose(maximal_inhibition(plaids), np.full(4, weakest), rtol=32 * EPS)


def test_without_a_look_at_the_unmasked_gratings_the_orientation_may_be_the_one_across() -> None:
    """The trap: a plaid is there twice, and the largest response of all tells either."""
    responses = recorded(PLAIDS, normalized(90.0))
    naive = tuning_curve(responses, "mask_contrast", by="contrast")
    assert naive["orientation"].item() == 0
    assert plaid_curves(responses)["orientation"].item() == 90


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_maximal_inhibition_is_that_of_burgs_code(seed: int) -> None:
    table = np.random.default_rng(seed).gamma(1, size=(4, 4)) + 0.01  # of contrast, mask
    plaids = xr.DataArray(
        table, {"contrast": CONTRASTS, "mask_contrast": CONTRASTS}, ("contrast", "mask_contrast")
    )
    of_masks = table.T  # theirs are of mask, contrast
    expected = np.max(1 - of_masks / of_masks[:1, :])
    assert maximal_inhibition(plaids).item() == expected
    assert maximal_inhibition(2 * plaids).item() == expected
    assert expected >= 0
    np.testing.assert_array_equal(cross_orientation_index(plaids), 1 - table[:, -1] / table[:, 0])


def test_inhibition_of_no_response_is_undefined() -> None:
    values = np.array(
        [[[0.0, 1.0], [0.0, 2.0]], [[0.0, 1.0], [2.0, 1.0]], [[-1.0, 1], [np.nan, 1]]]
    )
    plaids = xr.DataArray(
        values,
        {"contrast": [0.0, 0.5], "mask_contrast": [0.0, 0.5]},
        ("unit", "contrast", "mask_contrast"),
    )
    expected = [[np.nan, np.nan], [np.nan, 0.5], [np.nan, np.nan]]
    np.testing.assert_array_equal(cross_orientation_index(plaids), expected)
    np.testing.assert_array_equal(maximal_inhibition(plaids), [np.nan, 0.5, np.nan])


def test_masks_that_do_not_rise_from_0_are_refused() -> None:
    plaids = xr.DataArray(
        np.ones((2, 2)),
        {"contrast": [0, 1], "mask_contrast": [0.1, 1]},
        ("contrast", "mask_contrast"),
    )
    for measure in (cross_orientation_index, maximal_inhibition):
        with pytest.raises(ValueError, match=r"mask_contrast=\[0.1, 1.0\] does not begin at 0"):
            measure(plaids)
        with pytest.raises(ValueError, match=r"mask_contrast=\[1.0, 0.1\] does not rise"):
            measure(plaids.isel(mask_contrast=[1, 0]))


def test_stimuli_of_another_protocol_are_no_plaids() -> None:
    responses = recorded(PLAIDS, normalized(0.0))
    with pytest.raises(KeyError, match="'mask_contrast' is no parameter of these stimuli"):
        plaid_curves(responses.drop_vars("mask_contrast"))
    masked = responses.isel(stimulus=responses["mask_contrast"].values > 0)
    with pytest.raises(ValueError, match="mask_contrast is never 0"):
        plaid_curves(masked)


# Dask arrays.


def check_lazy(measure: Callable[[Any], Any], data: Any, chunked: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        lazy = measure(chunked)
    eager = measure(data)
    assert lazy.variable.chunks is not None
    assert lazy.dtype == eager.dtype
    xr.testing.assert_identical(lazy.compute(), eager)


@pytest.mark.parametrize("measure", [suppression_index, summation_field, surround_diameter])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sizes_of_a_dask_array_are_dask_arrays(measure: Any, dtype: str) -> None:
    values = (8 * np.random.default_rng(3).gamma(0.5, size=(5, 3, 5))).astype(dtype)
    values[1] = 0
    if dtype != "int64":
        values[3, 1, 1] = np.nan
    curves = sizes(values).transpose("diameter", "contrast", "unit")
    check_lazy(measure, curves, curves.chunk(unit=2, diameter=3))


@pytest.mark.parametrize("chunks", [{"unit": 1}, {"stimulus": 50, "unit": 2}])
@pytest.mark.parametrize(
    ("measure", "stimuli", "unit"),
    [
        (surround_curve, SURROUND, with_surround),
        (
            lambda r: surround_suppression(surround_curve(r), surround_curve(r)["center"]),
            *(SURROUND, with_surround),
        ),
        (
            lambda r: iso_minus_cross(
                surround_suppression(surround_curve(r), surround_curve(r)["center"])
            ),
            *(SURROUND, with_surround),
        ),
        (plaid_curves, PLAIDS, normalized),
        (lambda r: cross_orientation_index(plaid_curves(r)), PLAIDS, normalized),
        (lambda r: maximal_inhibition(plaid_curves(r)), PLAIDS, normalized),
    ],
    ids=["surround", "suppression", "tuning", "plaids", "index", "inhibition"],
)
def test_measures_of_a_dask_store_are_dask_arrays(
    measure: Any, stimuli: StimulusSet, unit: Any, chunks: dict[str, int]
) -> None:
    responses = recorded(stimuli, *(unit(p, 0.5) for p in (0.0, 30.0, 90.0)))
    chunked = responses.assign(response=responses["response"].variable.chunk(chunks))
    check_lazy(measure, responses, chunked)
