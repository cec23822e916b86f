"""Verification can fail: wrong drawings are measured as what they are, and named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from ephys import verification
from ephys.stimuli.families import FAMILIES
from ephys.stimuli.sweep import StimulusSet, paired
from ephys.verification import QUANTITIES, deviations, verify, worst, wrong
from ephys.visual_field import VisualField

FIELD = VisualField(48, 48, 8.0)  # 6 x 6 degrees
Column = Callable[[xr.DataArray], xr.DataArray]
# Where float32 pixels are as drawn, fits of them are off by far less.
EXACT = 1e-6


def stimuli(family: str, **columns: Any) -> StimulusSet:
    return paired(FAMILIES[family].draw, **columns)


GRATING = stimuli(
    "grating", spatial_frequency=1.25, orientation=[20.0, 130], phase=[30.0, 300], contrast=0.6
)


class Planted:
    """Draws other parameters than were asked for, or spoils the pixels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, pixels: Callable[[Tensor], Tensor] = torch.clone, **columns: Column) -> None:
        render = StimulusSet.render

        def wrong_render(self: StimulusSet, *args: Any, **options: Any) -> Tensor:
            table = self.table.assign(
                {name: change(self.table[name]) for name, change in columns.items()}
            )
            return pixels(render(StimulusSet(table), *args, **options))

        self.monkeypatch.setattr(StimulusSet, "render", wrong_render)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Planted:
    return Planted(monkeypatch)


def measured(verified: xr.Dataset, name: str) -> np.ndarray:
    return np.asarray(verified["measured"].sel(quantity=name).values)


def found_wrong(verified: xr.Dataset) -> set[str]:
    """The quantities that are said to be wrong, of all stimuli alike."""
    said = [
        {line.split(": ")[1].split(" is ")[0] for line in wrong(verified) if f" {i} " in line}
        for i in range(verified.sizes["stimulus"])
    ]
    assert all(one == said[0] for one in said)
    return said[0]


def test_nothing_is_wrong_with_what_is_drawn() -> None:
    assert wrong(verify(GRATING, FIELD)) == []


def test_positions_from_end_to_end_are_measured(plant: Planted) -> None:
    """The usual error: linspace over the field, and a frequency off by N / (N - 1)."""
    plant(spatial_frequency=lambda f: f * 48 / 47)
    verified = verify(GRATING, FIELD)
    np.testing.assert_allclose(measured(verified, "spatial_frequency"), 1.25 * 48 / 47, rtol=EXACT)
    assert found_wrong(verified) == {"spatial_frequency"}
    value = measured(verified, "spatial_frequency")[0]
    assert wrong(verified)[0] == (
        f"stimulus 0 (grating): spatial_frequency is {value:.9g} and not 1.25 cycles/degree"
    )


@pytest.mark.parametrize("off", [1e-4, 0.3, 2.0])
def test_another_frequency_is_measured(plant: Planted, off: float) -> None:
    """By 1.8 cycles on the field, beyond which a fit would not come back by itself, and far off."""
    plant(spatial_frequency=lambda f: f + off)
    verified = verify(GRATING, FIELD)
    np.testing.assert_allclose(measured(verified, "spatial_frequency"), 1.25 + off, rtol=EXACT)
    assert found_wrong(verified) == {"spatial_frequency"}


def test_x_and_y_swapped_are_measured(plant: Planted) -> None:
    """Rows for columns: a place (x, y) shows what belongs at (-y, -x)."""
    plant(lambda images: images.transpose(2, 3))
    verified = verify(GRATING[:1], FIELD)
    np.testing.assert_allclose(measured(verified, "orientation"), 70, atol=1e-4)
    assert found_wrong(verified) == {"orientation"}


def test_y_downward_is_measured(plant: Planted) -> None:
    plant(lambda images: images.flip(2))
    verified = verify(GRATING[:1], FIELD)
    # Of 160 degrees, within half a turn of 20; with the distance counted downward, so is the phase.
    np.testing.assert_allclose(measured(verified, "orientation"), -20, atol=1e-4)
    np.testing.assert_allclose(measured(verified, "phase"), -30, atol=1e-3)
    assert found_wrong(verified) == {"orientation", "phase"}


@pytest.mark.parametrize("off", [1e-3, 0.2, 90, 179])
def test_a_phase_error_is_measured(plant: Planted, off: float) -> None:
    plant(phase=lambda phase: phase + off)
    verified = verify(GRATING, FIELD)
    assert found_wrong(verified) == {"phase"}
    deviation = measured(verified, "phase") - verified["asked"].sel(quantity="phase").values
    np.testing.assert_allclose(deviation, off, atol=1e-4)


def test_half_a_pixel_is_measured_as_a_phase(plant: Planted) -> None:
    plant(x=lambda phase: phase + 1 / 16)
    vertical = stimuli("grating", spatial_frequency=1.25, orientation=90.0, x=0.0)
    verified = verify(vertical, FIELD)
    np.testing.assert_allclose(measured(verified, "phase"), 360 * 1.25 / 16, atol=1e-4)
    assert found_wrong(verified) == {"phase"}


@pytest.mark.parametrize("off", [2e-5, 0.3, -0.6])
def test_a_contrast_error_is_measured(plant: Planted, off: float) -> None:
    plant(contrast=lambda contrast: contrast + off)
    verified = verify(GRATING, FIELD)
    np.testing.assert_allclose(measured(verified, "contrast"), 0.6 + off, atol=EXACT)
    assert "contrast" in found_wrong(verified)


def test_contrast_that_a_resize_loses_is_measured(plant: Planted) -> None:
    """A bar of 1/4, 1/2, 1/4 leaves (1 + cos(2 pi f / pixels_per_degree)) / 2 of a wave."""
    plant(lambda image: (image.roll(1, 3) + 2 * image + image.roll(-1, 3)) / 4)
    # Of whole cycles, so that where the pixels come around does not matter.
    verified = verify(stimuli("grating", spatial_frequency=1.5, orientation=90.0), FIELD)
    left = (1 + np.cos(2 * np.pi * 1.5 / 8)) / 2
    np.testing.assert_allclose(measured(verified, "contrast"), left, atol=EXACT)
    assert found_wrong(verified) == {"contrast"}


def test_pixels_of_8_bits_are_noticed(plant: Planted) -> None:
    plant(lambda images: (images * 255).round() / 255)
    verified = verify(GRATING, FIELD)
    residual = measured(verified, "residual")
    # Rounded by half a level at most, somewhere by almost that; the fit shifts a little.
    assert ((residual > 0.45 / 255) & (residual < 0.6 / 255)).all()
    assert "residual" in found_wrong(verified)


def test_another_mean_is_measured(plant: Planted) -> None:
    plant(lambda images: images + 0.01)
    verified = verify(GRATING, FIELD)
    np.testing.assert_allclose(measured(verified, "mean_luminance"), 0.51, atol=EXACT)
    # Michelson's contrast is of the mean.
    np.testing.assert_allclose(measured(verified, "contrast"), 0.3 / 0.51, atol=EXACT)
    assert found_wrong(verified) == {"mean_luminance", "contrast"}


@pytest.mark.parametrize("asked", ["linear", "srgb"])
def test_a_wrong_encoding_is_noticed(plant: Planted, asked: str) -> None:
    other = {"linear": "srgb", "srgb": "linear"}[asked]
    plant(encoding=lambda names: xr.full_like(names, other, dtype="<U6"))
    verified = verify(stimuli("grating", spatial_frequency=1.25, encoding=asked), FIELD)
    assert {"mean_luminance", "residual"} <= found_wrong(verified)


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.5])
def test_a_pixel_that_no_display_shows_is_noticed(plant: Planted, value: float) -> None:
    def spoil(images: Tensor) -> Tensor:
        images[:, :, 5, 7] = value
        return images

    plant(spoil)
    said = wrong(verify(GRATING, FIELD))
    for i in range(2):
        assert f"stimulus {i} (grating): pixels are not all within 0 to 1" in said


def test_one_wrong_pixel_is_noticed(plant: Planted) -> None:
    def spoil(images: Tensor) -> Tensor:
        images[:, :, 5, 7] += 1e-5
        return images

    plant(spoil)
    assert "residual" in found_wrong(verify(GRATING, FIELD))


def test_one_wrong_stimulus_is_named(plant: Planted) -> None:
    plant(contrast=lambda c: c.where(np.arange(2) == 0, 0.4))
    (line,) = wrong(verify(GRATING, FIELD))
    assert line.startswith("stimulus 1 (grating): contrast is")


def test_a_diameter_that_is_a_radius_is_measured(plant: Planted) -> None:
    plant(diameter=lambda diameter: 2 * diameter)
    verified = verify(stimuli("grating", spatial_frequency=2.3, diameter=2.5), FIELD)
    np.testing.assert_allclose(measured(verified, "diameter"), 5, atol=1 / 8)
    assert {"diameter", "residual"} <= found_wrong(verified)


def test_a_hole_of_another_size_is_measured(plant: Planted) -> None:
    plant(inner_diameter=lambda diameter: 0.8 * diameter)
    verified = verify(
        stimuli("grating", spatial_frequency=2.3, diameter=5.5, inner_diameter=2.5), FIELD
    )
    np.testing.assert_allclose(measured(verified, "inner_diameter"), 2, atol=1 / 8)
    assert {"inner_diameter", "residual"} <= found_wrong(verified)


def test_another_gaussian_is_measured(plant: Planted) -> None:
    plant(envelope_sd=lambda sd: sd * 1.02)
    verified = verify(
        stimuli("gabor", spatial_frequency=2.3, orientation=30.0, envelope_sd=0.8), FIELD
    )
    np.testing.assert_allclose(measured(verified, "envelope_sd"), 0.816, rtol=1e-3)
    assert {"envelope_sd", "residual"} <= found_wrong(verified)


def test_a_patch_in_another_place_is_noticed(plant: Planted) -> None:
    plant(x=lambda x: x + 0.5)
    verified = verify(stimuli("patch", diameter=3.0, x=0.0), FIELD)
    assert {"diameter", "residual"} <= found_wrong(verified)


def test_a_mask_turned_the_wrong_way_is_measured(plant: Planted) -> None:
    """The component that is as asked for stays as it is."""
    plant(mask_angle=lambda angle: -angle)
    plaid = stimuli(
        *("plaid",), spatial_frequency=1.25, orientation=30.0, contrast=0.5, mask_contrast=0.3,
        mask_angle=60.0, mask_spatial_frequency=2.0,
    )  # fmt: skip
    verified = verify(plaid, FIELD)
    np.testing.assert_allclose(measured(verified, "orientation"), 30, atol=1e-4)
    np.testing.assert_allclose(measured(verified, "second_orientation") % 180, 150, atol=1e-4)
    assert found_wrong(verified) == {"second_orientation"}


def test_both_components_wrong_are_both_measured(plant: Planted) -> None:
    plant(lambda images: images.flip(2))
    plaid = stimuli(
        *("plaid",), spatial_frequency=1.25, orientation=30.0, contrast=0.5, mask_contrast=0.3,
        mask_angle=85.0, mask_spatial_frequency=2.0,
    )  # fmt: skip
    verified = verify(plaid, FIELD)
    # Which of them is which is not for the pixels to tell.
    both = [measured(verified, f"{prefix}orientation").item() % 180 for prefix in ("", "second_")]
    np.testing.assert_allclose(sorted(both), [65, 150], atol=1e-4)
    assert {"orientation", "second_orientation"} <= found_wrong(verified)


def test_a_surround_with_the_grating_of_the_centre_is_measured(plant: Planted) -> None:
    plant(surround_angle=lambda angle: 0 * angle)
    verified = verify(
        stimuli(
            "center_surround", spatial_frequency=1.5, orientation=20.0, center_diameter=3.0,
            surround_angle=90.0,
        ),
        FIELD,
    )  # fmt: skip
    np.testing.assert_allclose(measured(verified, "second_orientation") % 180, 20, atol=1e-4)
    assert found_wrong(verified) == {"second_orientation"}


def test_motion_the_other_way_is_measured(plant: Planted) -> None:
    plant(temporal_frequency=lambda frequency: -frequency)
    moving = stimuli(
        "drifting_grating", spatial_frequency=1.5, direction=20.0, temporal_frequency=2.0, time=0.1
    )
    assert found_wrong(verify(moving, FIELD)) == {"phase"}


@pytest.mark.parametrize("family", ["grating", "patch"])
def test_colors_that_are_not_isoluminant_are_measured(plant: Planted, family: str) -> None:
    plant(elevation=lambda elevation: elevation + 5)
    own: dict[str, float] = {"spatial_frequency": 1.5} if family == "grating" else {"diameter": 3}
    colored = stimuli(family, **own, contrast=0.5, color="dkl", azimuth=40.0, elevation=0.0)
    verified = verify(colored, FIELD)
    # At an elevation the luminance is its sine, on a display's scale on which 1 is Michelson's 1.
    np.testing.assert_allclose(
        measured(verified, "luminance_contrast"), 0.5 * np.sin(np.deg2rad(5)), atol=EXACT
    )
    assert "luminance_contrast" in found_wrong(verified)


def test_channels_in_another_order_are_noticed(plant: Planted) -> None:
    plant(lambda images: images.flip(1))
    colored = stimuli("grating", spatial_frequency=1.5, color="dkl", azimuth=40.0, contrast=0.9)
    names = {"luminance_contrast", "l_cone_contrast", "m_cone_contrast", "s_cone_contrast"}
    assert names <= found_wrong(verify(colored, FIELD))


@pytest.mark.parametrize("family", ["patch", "bar", "sparse_noise"])
def test_dark_for_light_is_measured(plant: Planted, family: str) -> None:
    plant(polarity=lambda polarity: -polarity)
    own = {
        "patch": {"diameter": 3.0},
        "bar": {"length": 2.0, "width": 0.5},
        "sparse_noise": {"check_size": 1.0},
    }[family]
    verified = verify(stimuli(family, **own, polarity=1.0, contrast=0.4), FIELD)
    np.testing.assert_allclose(measured(verified, "contrast"), -0.4, atol=EXACT)
    assert "contrast" in found_wrong(verified)


def test_half_the_contrast_of_noise_is_measured(plant: Planted) -> None:
    plant(contrast=lambda contrast: contrast / 2)
    noise = stimuli("white_noise", seed=[1, 2], check_size=0.5, side=4, contrast=0.8)
    verified = verify(noise, FIELD)
    np.testing.assert_allclose(measured(verified, "contrast"), 0.4, atol=EXACT)
    assert found_wrong(verified) == {"contrast"}


def test_a_square_wave_with_edges_a_pixel_off_is_noticed(plant: Planted) -> None:
    plant(lambda images: images.roll(1, 3))
    square = stimuli("square_grating", spatial_frequency=0.7, orientation=[90.0, 70])
    assert "residual" in found_wrong(verify(square, FIELD))


def test_a_square_wave_of_another_frequency_is_noticed(plant: Planted) -> None:
    plant(spatial_frequency=lambda f: f * 1.3)
    square = stimuli("square_grating", spatial_frequency=1.1, orientation=[25.0, 70])
    verified = verify(square, FIELD)
    np.testing.assert_allclose(measured(verified, "spatial_frequency"), 1.43, rtol=0.02)
    assert {"spatial_frequency", "residual"} <= found_wrong(verified)


def test_noise_beyond_its_band_is_measured(plant: Planted) -> None:
    """Another wave with a hundredth of the noise's r.m.s. contrast, whose power adds to its own."""
    wave = 0.5 * 0.002 * np.sqrt(2) * torch.cos(2 * torch.pi * 3 * torch.tensor(FIELD.x))
    plant(lambda images: images + wave.float())
    noise = stimuli("filtered_noise", seed=[1, 2], low_frequency=0.5, high_frequency=2, period=6,
                    rms_contrast=0.2)  # fmt: skip
    verified = verify(noise, FIELD)
    np.testing.assert_allclose(
        measured(verified, "power_out_of_band"), 1e-4 / (1 + 1e-4), rtol=1e-3
    )
    assert "power_out_of_band" in found_wrong(verified)


def test_families_are_beside_each_other_in_the_table_of_the_worst() -> None:
    both = GRATING + stimuli("checkerboard", check_size=1, contrast=0.5)
    verified = verify(both, FIELD)
    table = worst(verified)
    assert list(table) == ["tolerance", "grating", "checkerboard"]
    off = deviations(verified)
    by_hand = off.values[:2, list(QUANTITIES).index("phase")].max()
    value: dict[Any, Any] = table.to_dict()
    assert value["grating"]["phase"] == by_hand > 0
    assert np.isnan(value["checkerboard"]["phase"])
    assert value["checkerboard"]["contrast"] < value["tolerance"]["contrast"]
    assert "diameter" not in table.index  # no one asked


def test_a_mixed_set_is_measured_stimulus_by_stimulus() -> None:
    """What is told of one does not depend on the others, nor on how many are drawn at a time."""
    colored = stimuli("grating", spatial_frequency=1.5, color="dkl", azimuth=40.0, contrast=0.5)
    dark = stimuli("grating", spatial_frequency=2.0, mean_luminance=0.2, encoding="srgb")
    disc = stimuli("grating", spatial_frequency=2.0, diameter=[2.0, 4])
    parts = [GRATING, colored, disc, stimuli("patch", diameter=2.0), dark]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    verified = verify(whole, FIELD)
    start = 0
    for part in parts:
        alone = verify(part, FIELD)
        rows = slice(start, start := start + len(part))
        for name in ("asked", "measured"):
            together = verified[name].values[rows]
            # A frequency, angles and so on of like sizes; stacked matrices round alike or nearly.
            np.testing.assert_allclose(alone[name].values, together, rtol=0, atol=1e-9)


def test_memory_does_not_grow_with_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    render = StimulusSet.render

    def counting(self: StimulusSet, *args: Any, **options: Any) -> Tensor:
        drawn.append(len(self))
        return render(self, *args, **options)

    monkeypatch.setattr(StimulusSet, "render", counting)
    monkeypatch.setattr(verification, "PIXELS_AT_ONCE", 5 * 48 * 48)
    verify(stimuli("grating", spatial_frequency=1.5, phase=np.arange(23.0)), FIELD)
    assert sum(drawn) == 23
    assert max(drawn) == 5


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="Nyquist"):
        verify(stimuli("grating", spatial_frequency=5), FIELD)


def test_quantities_say_their_units_and_survive_netcdf(tmp_path: Any) -> None:
    verified = verify(GRATING, replace(FIELD, height_px=40))
    assert verified["units"].sel(quantity="spatial_frequency") == "cycles degree-1"
    verified.to_netcdf(tmp_path / "verified.nc")
    with xr.open_dataset(tmp_path / "verified.nc") as again:
        xr.testing.assert_equal(again.load(), verified)
