"""What every family of stimuli shows is what was asked for, as far as pixels can tell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ephys.stimuli.colors import LUMINANCE_WEIGHTS, cone_contrasts, decode_srgb
from ephys.stimuli.families import FAMILIES
from ephys.stimuli.sweep import blank, paired
from ephys.verification import verify, wrong
from ephys.visual_field import VisualField

WIDE = VisualField(40, 52, 8.0)  # 5 x 6.5 degrees: neither square, nor with a pixel at the centre
SQUARE = VisualField(31, 31, 8.0)
# A crop, whose origin was moved: what a unit sees of a stimulus centred on it.
SEEN = WIDE.centered_on(0.4, -0.3).crop(slice(3, 35), slice(6, 50))

# Of at least 2 cycles, so that amplitude and grey, and frequency and phase, are told apart.
frequencies = st.floats(0.5, 3.9)
contrasts = st.floats(0.1, 1)
turns, angles = st.floats(0, 360), st.floats(0, 180)
tenths = st.integers(0, 1799).map(lambda n: n / 10)
waves = {
    "spatial_frequency": frequencies,
    "orientation": angles,
    "phase": turns,
    "contrast": contrasts,
}
times = {"temporal_frequency": st.floats(0, 20), "time": st.floats(0, 1)}
centers = {"x": st.floats(-0.5, 0.5), "y": st.floats(-0.4, 0.4)}
apertures: Any = st.one_of(
    st.fixed_dictionaries({}),
    st.fixed_dictionaries({"diameter": st.floats(2.5, 4), **centers}),
    st.fixed_dictionaries({"diameter": st.floats(3.5, 4), "inner_diameter": st.floats(0.5, 1)}),
    st.fixed_dictionaries({"diameter": st.floats(2.5, 3.8), "edge_width": st.floats(0.1, 1)}),
    st.fixed_dictionaries({"envelope_sd": st.floats(0.7, 3), **centers}),
    st.fixed_dictionaries({"envelope_sd": st.floats(0.7, 3), "diameter": st.floats(3, 4)}),
)
GRATINGS: dict[str, dict[str, Any]] = {
    "grating": waves,
    "gabor": waves | {"envelope_sd": st.floats(0.6, 1.5)} | centers,
    "drifting_grating": {"spatial_frequency": frequencies, "direction": turns, "phase": turns}
    | times,
    "counterphase_grating": waves | times,
    "plaid": waves
    | {"contrast": st.floats(0.1, 0.5), "mask_contrast": st.floats(0.1, 0.5)}
    | {"mask_angle": st.floats(45, 135), "mask_spatial_frequency": frequencies}
    | {"mask_phase": turns},
    "center_surround": waves
    | {"center_diameter": st.floats(1.5, 2), "surround_angle": angles, "surround_phase": turns}
    | {"surround_contrast": contrasts, "surround_spatial_frequency": frequencies},
}
SHAPES: dict[str, dict[str, Any]] = {
    "patch": {},
    "bar": {"length": st.floats(1.5, 2), "width": st.floats(0.3, 1), "orientation": tenths},
    "sparse_noise": {"check_size": st.floats(0.2, 1)} | centers,
    "checkerboard": {"check_size": st.floats(0.2, 1), "orientation": angles},
    "square_grating": {name: waves[name] for name in ("spatial_frequency", "orientation", "phase")},
}
POLARITIES = st.sampled_from([-1.0, 1.0])


def shown(family: str, field: VisualField = WIDE, /, **parameters: Any) -> xr.Dataset:
    return verify(paired(FAMILIES[family].draw, **parameters), field)


def table(verified: xr.Dataset, name: str, table: str = "measured") -> float:
    return verified[table].sel(quantity=name).item()


def off(verified: xr.Dataset, *names: str) -> np.ndarray:
    chosen = verified.sel(quantity=list(names)) if names else verified
    return np.asarray(abs(chosen["measured"].values - chosen["asked"].values))


def allowed(verified: xr.Dataset, *names: str) -> np.ndarray:
    chosen = verified.sel(quantity=list(names)) if names else verified
    size = np.where(chosen["relative"].values, abs(chosen["asked"].values), 1)
    return np.asarray(chosen["tolerance"].values * size)


def assert_as_asked(verified: xr.Dataset, *told: str) -> None:
    """As far as float32 pixels can tell, and within the tolerance where they can tell that."""
    assert wrong(verified) == []
    difference, limit = off(verified), allowed(verified)
    sure = np.isfinite(difference) & (verified["uncertainty"].values <= limit)
    assert (difference[sure] <= limit[sure]).all()
    names = verified["quantity"].values[np.isfinite(difference).all(0)]
    assert set(told) <= set(names.tolist())


@given(parameters=st.fixed_dictionaries(waves), field=st.sampled_from([WIDE, SQUARE, SEEN]))
@settings(max_examples=40, deadline=None)
def test_gratings_are_drawn_as_exactly_as_they_can_be_seen(
    parameters: dict[str, float], field: VisualField
) -> None:
    """Contrast to 1e-5, frequency to 1e-6 of itself, orientation to 1e-4 degree.

    Over 3.9 degrees with 2 cycles, rounding of at most 1.6 units of 2^-24 (1 + contrast), the worst
    way around, moves log frequency and orientation by about sqrt(6) / (pi cycles contrast) of that:
    at a contrast of 0.1 by 4e-7, and 2e-5 degree.
    """
    verified = shown("grating", field, **parameters)
    assert_as_asked(verified, "contrast", "spatial_frequency", "orientation", "phase", "residual")
    names = ("contrast", "spatial_frequency", "orientation", "phase", "mean_luminance", "residual")
    assert (off(verified, *names) <= allowed(verified, *names)).all()


@pytest.mark.parametrize("family", GRATINGS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_gratings_of_every_family_and_aperture_are_as_asked(
    family: str, data: st.DataObject
) -> None:
    window = data.draw(st.fixed_dictionaries({}) if family == "gabor" else apertures)
    parameters = data.draw(st.fixed_dictionaries(GRATINGS[family])) | window
    encoding = data.draw(st.sampled_from(["linear", "srgb"]))
    mean = data.draw(st.floats(0.2, 0.5))
    verified = shown(family, **parameters, mean_luminance=mean, encoding=encoding)
    # A disc may hold less than a cycle, of which not everything is told.
    told = [] if family == "center_surround" else ["mean_luminance", "contrast"]
    assert_as_asked(verified, *told, "residual")


@given(orientation=angles, phase=turns, frequency=st.floats(1, 3.9), size=st.floats(2.5, 5))
@settings(max_examples=15, deadline=None)
def test_a_hard_aperture_is_measured_to_a_pixel(
    orientation: float, phase: float, frequency: float, size: float
) -> None:
    """Around a whole circle some bar is in contrast on either side of the edge, within a pixel."""
    verified = shown(
        "grating", spatial_frequency=frequency, orientation=orientation, phase=phase, diameter=size
    )
    assert_as_asked(verified, "diameter")
    assert off(verified, "diameter").item() < 1 / 8


@given(frequency=frequencies, phase=turns, contrast=contrasts, sd=st.floats(0.5, 1.5))
@settings(max_examples=15, deadline=None)
def test_the_width_of_a_gaussian_is_measured(
    frequency: float, phase: float, contrast: float, sd: float
) -> None:
    verified = shown(
        "gabor", spatial_frequency=frequency, phase=phase, contrast=contrast, envelope_sd=sd
    )
    assert_as_asked(verified, "envelope_sd")
    assert table(verified, "envelope_sd") == pytest.approx(sd, rel=1e-4)


@pytest.mark.parametrize("family", SHAPES)
@given(data=st.data(), contrast=st.floats(0.01, 1))
@settings(max_examples=15, deadline=None)
def test_shapes_have_the_luminances_asked_for(
    family: str, data: st.DataObject, contrast: float
) -> None:
    parameters = data.draw(st.fixed_dictionaries(SHAPES[family])) | {"contrast": contrast}
    if family != "square_grating":
        parameters["polarity"] = data.draw(POLARITIES)
    if family in ("patch", "checkerboard", "square_grating"):
        parameters |= data.draw(apertures)
    verified = shown(family, **parameters)
    assert_as_asked(verified, "contrast", "residual")
    sign = parameters["polarity"] if family in ("patch", "bar", "sparse_noise") else 1
    if "edge_width" not in parameters:
        # A unit of rounding each, of the grey, of what is added and of the sum; and by what a
        # Gaussian leaves of it, at least a half.
        assert table(verified, "contrast") == pytest.approx(sign * contrast, abs=6e-7)


@given(seed=st.integers(0, 2**53), contrast=st.floats(0.01, 1), x=st.floats(-1, 1))
@settings(max_examples=15, deadline=None)
def test_white_noise_has_the_luminances_asked_for(seed: int, contrast: float, x: float) -> None:
    verified = shown("white_noise", seed=seed, check_size=0.5, side=3, contrast=contrast, x=x)
    assert_as_asked(verified, "contrast", "mean_luminance", "residual")


@given(phase=turns, orientation=angles, frequency=frequencies, contrast=contrasts)
@settings(max_examples=15, deadline=None)
def test_square_waves_are_known_to_a_pixel(
    phase: float, orientation: float, frequency: float, contrast: float
) -> None:
    """Of 40 pixels on a side, and 2.5 cycles at least."""
    verified = shown(
        "square_grating",
        **{"spatial_frequency": frequency, "orientation": orientation, "phase": phase},
        contrast=contrast,
    )
    assert_as_asked(verified, "spatial_frequency", "orientation", "phase", "contrast", "residual")
    assert table(verified, "spatial_frequency") == pytest.approx(frequency, rel=1 / 10)
    assert off(verified, "orientation").item() < np.rad2deg(1 / 10)


@given(
    seed=st.integers(0, 1000), slope=st.floats(0, 2), encoding=st.sampled_from(["linear", "srgb"])
)
@settings(max_examples=15, deadline=None)
def test_filtered_noise_keeps_to_its_band(seed: int, slope: float, encoding: str) -> None:
    field = VisualField(32, 32, 8.0)
    band = {"low_frequency": 0.5, "high_frequency": 2, "period": 4, "rms_contrast": 0.15}
    verified = shown("filtered_noise", field, seed=seed, spectral_slope=slope, **band,
                     encoding=encoding)  # fmt: skip
    assert_as_asked(verified, "power_out_of_band", "rms_contrast")
    larger = shown("filtered_noise", field, seed=seed, spectral_slope=slope, **band | {"period": 5})
    # Of a part of a period nothing was promised.
    assert np.isnan(table(larger, "power_out_of_band"))
    assert np.isnan(table(larger, "rms_contrast", "asked"))


@given(azimuth=turns, contrast=st.floats(0.1, 0.9), family=st.sampled_from(["grating", "patch"]))
@settings(max_examples=15, deadline=None)
def test_isoluminant_colors_have_no_luminance(azimuth: float, contrast: float, family: str) -> None:
    """Not so much as float32 can tell; cardinal colors leave the other cones alone."""
    own = {"spatial_frequency": 1.3, "phase": 20} if family == "grating" else {"diameter": 3}
    color = {"color": "dkl", "azimuth": azimuth, "elevation": 0}
    verified = shown(family, contrast=contrast, **own, **color)
    names = ("luminance_contrast", "l_cone_contrast", "m_cone_contrast", "s_cone_contrast")
    assert_as_asked(verified, "contrast", *names)
    assert abs(table(verified, "luminance_contrast")) < 1e-6
    # L and M share luminance, 2 to 1 about, so where it is constant they are opposed.
    assert table(verified, "l_cone_contrast") * table(verified, "m_cone_contrast") <= 0


@given(
    cones=st.tuples(*(st.floats(-0.05, 0.05) for _ in "lms")),
    contrast=st.floats(0.1, 1),
    encoding=st.sampled_from(["linear", "srgb"]),
)
@settings(max_examples=15, deadline=None)
def test_cone_contrasts_are_those_asked_for(
    cones: tuple[float, float, float], contrast: float, encoding: str
) -> None:
    if np.linalg.norm(cones) < 1e-3:
        cones = (0.05, 0.0, 0.0)
    asked = dict(zip(("cone_l", "cone_m", "cone_s"), cones, strict=True))
    verified = shown(
        *("grating",), spatial_frequency=1, contrast=contrast, color="cones", **asked,
        encoding=encoding,
    )  # fmt: skip
    assert wrong(verified) == []
    for letter, one in zip("lms", cones, strict=True):
        measured = table(verified, f"{letter}_cone_contrast")
        assert measured == pytest.approx(contrast * one, abs=2e-6)


def test_the_color_of_the_light_side_is_measured() -> None:
    """hsl red on grey, from the definition: the brightest pixel's cone contrasts, by hand."""
    verified = shown(
        "checkerboard",
        check_size=1,
        **{"color": "hsl", "hue": 0, "saturation": 0.5, "lightness": 0.5, "encoding": "srgb"},
        contrast=0.8,
    )
    red = decode_srgb(np.array([0.75, 0.25, 0.25]))
    light = 0.5 + 0.8 * (red - 0.5)
    for letter, expected in zip("lms", cone_contrasts(light, 0.5), strict=True):
        assert table(verified, f"{letter}_cone_contrast") == pytest.approx(expected, abs=2e-6)
    expected = (light - 0.5) @ LUMINANCE_WEIGHTS / 0.5
    assert table(verified, "luminance_contrast") == pytest.approx(expected, abs=2e-6)


def test_matched_photographs_have_the_luminance_and_contrast_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "photograph.png"
    pixels = np.random.default_rng(0).integers(90, 140, size=(60, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    matched = {"luminance": 0.4, "rms_contrast": 0.1}
    verified = shown("photograph", SQUARE, file=str(file), file_row=30, file_column=30, **matched)
    assert_as_asked(verified, "average_luminance", "rms_contrast")
    moved = shown("photograph", SQUARE, file=str(file), file_row=30, file_column=30, x=1, **matched)
    assert np.isnan(table(moved, "rms_contrast", "asked"))  # a part is beyond the screen


def test_extremes_and_averages_are_those_of_the_pixels() -> None:
    stimuli = paired(FAMILIES["grating"].draw, spatial_frequency=1.3, encoding="srgb")
    verified, pixels = verify(stimuli, WIDE), stimuli.render(WIDE).double().numpy()
    light = decode_srgb(pixels)
    expected = {
        "lowest_pixel": pixels.min(),
        "highest_pixel": pixels.max(),
        "average_luminance": light.mean(),
        "rms_contrast": light.std() / light.mean(),
        "michelson_contrast": np.ptp(light) / (light.max() + light.min()),
    }
    for name, value in expected.items():
        assert table(verified, name) == pytest.approx(value, rel=1e-12)


def test_a_blank_has_its_luminance_and_no_contrast() -> None:
    verified = verify(blank(0.3), WIDE)
    assert_as_asked(verified, "mean_luminance", "contrast")
    assert table(verified, "contrast") == 0
    assert np.isnan([table(verified, name) for name in ("orientation", "phase")]).all()


@pytest.mark.parametrize(
    "parameters",
    [
        {"spatial_frequency": 0, "contrast": 0.5},
        {"spatial_frequency": 1e-4, "contrast": 0.5},
        {"spatial_frequency": 1, "contrast": 0},
        {"spatial_frequency": 1, "contrast": 1e-7},
        {"spatial_frequency": 1, "contrast": 0.5, "mean_luminance": 0},
    ],
)
def test_what_pixels_cannot_tell_is_nan(parameters: dict[str, float]) -> None:
    verified = shown("grating", **parameters, orientation=30)
    assert wrong(verified) == []
    assert np.isnan(table(verified, "spatial_frequency"))


def test_components_that_are_the_same_wave_are_not_told_apart() -> None:
    verified = shown("plaid", spatial_frequency=1, contrast=0.5, mask_contrast=0.3, mask_angle=0)
    assert wrong(verified) == []
    names = ["contrast", "second_contrast", "phase", "second_phase"]
    assert verified["measured"].sel(quantity=names).isnull().all()


@given(direction=turns, phase=turns, time=st.floats(0, 2))
@settings(max_examples=15, deadline=None)
def test_what_is_asked_of_a_frame_is_the_phase_then(
    direction: float, phase: float, time: float
) -> None:
    verified = shown(
        *("drifting_grating",), spatial_frequency=1, temporal_frequency=2, direction=direction,
        phase=phase, time=time,
    )  # fmt: skip
    orientation, then = (table(verified, name, "asked") for name in ("orientation", "phase"))
    assert 0 <= orientation < 180
    # The same light at some place, by the definition of motion: x cos + y sin, less the distance.
    x, y, angle = 0.3, -0.2, np.deg2rad(direction)
    cycles = x * np.cos(angle) + y * np.sin(angle) - 2 * time
    by_motion = np.cos(2 * np.pi * cycles + np.deg2rad(phase))
    turned = np.deg2rad(orientation)
    across = y * np.cos(turned) - x * np.sin(turned)
    assert np.cos(2 * np.pi * across + np.deg2rad(then)) == pytest.approx(by_motion, abs=1e-9)
