"""Maps of linear units are the filters they were built with."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from ephys import mapping
from ephys.fits import fit_gabor
from ephys.mapping import gradient_map, reverse_correlation
from ephys.models.input_format import InputFormat
from ephys.recording import record
from ephys.shapes import Gabor
from ephys.stimuli import StimulusSet, grating, sparse_noise, sweep, white_noise

FORMAT = InputFormat(channels=1, height_px=18, width_px=20, pixels_per_degree=10)
FIELD = FORMAT.field
PIXEL = 0.1
SIZE = 15  # of the filters, pixels: of odd size in an even field, off its middle by half a pixel
# Of the map, 4 by 6, of a filter that stays within the field: the unit nearest the middle is at
# (1, 2) and looks at pixel (8, 9).
LOOKS_AT = (8, 9)
RF_X, RF_Y = FIELD.x[9], FIELD.y[8]

GABORS = {  # of four units, around the middle of the filter; degrees and cycles per degree
    "center_x": [0.0, 0.1, -0.15, 0.05],
    "center_y": [0.0, -0.05, 0.1, 0.12],
    "orientation": [0.0, 40.0, 100.0, 150.0],
    "spatial_frequency": [2.0, 1.5, 2.2, 1.8],
    "phase": [0.0, 90.0, 210.0, 320.0],
}
SD = 0.2


def filters() -> np.ndarray:
    """Planted Gabors, as they are seen: (unit, row, column), float32."""
    at = (np.arange(SIZE) - SIZE // 2) * PIXEL
    x, y = np.meshgrid(at, -at)
    drawn = []
    for center_x, center_y, orientation, frequency, phase in zip(*GABORS.values(), strict=True):
        angle, right, up = np.deg2rad(orientation), x - center_x, y - center_y
        u = up * np.cos(angle) - right * np.sin(angle)
        envelope = np.exp(-(right**2 + up**2) / (2 * SD**2))
        drawn.append(envelope * np.cos(2 * np.pi * frequency * u + np.deg2rad(phase)))
    return np.array(drawn, np.float32)


class Bank(nn.Module):
    """Linear filters, and features of what they answer once it is rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Conv2d(1, 4, SIZE)
        self.features = nn.Linear(4 * 4 * 6, 3)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(filters())[:, None])
            assert self.linear.bias is not None
            self.linear.bias.copy_(torch.tensor([0.0, 1.0, -2.0, 5.0]))

    def forward(self, images: Tensor) -> Tensor:
        linear = self.linear(images)
        return self.features(nn.functional.relu(linear).flatten(1))


def planted() -> np.ndarray:
    """The filters on the pixels of the field: (unit, y, x)."""
    maps = np.zeros((4, 18, 20))
    row, column = (place - SIZE // 2 for place in LOOKS_AT)
    maps[:, row : row + SIZE, column : column + SIZE] = filters()
    return maps


def spots(pixels: int, *, polarity: Any = (-1, 1), contrast: float = 1) -> StimulusSet:
    """Spots side by side over all of the field."""
    places = np.arange(-20, 21) * pixels * PIXEL
    near = places[abs(places) < 1.5]
    size = pixels * PIXEL
    return sweep(
        sparse_noise, x=near, y=near, check_size=size, polarity=polarity, contrast=contrast
    )


def noise(count: int, pixels: int = 1, first: int = 0) -> StimulusSet:
    checks = -(-24 // pixels)
    return sweep(
        white_noise,
        seed=np.arange(first, first + count),
        check_size=pixels * PIXEL,
        side=checks * pixels * PIXEL,
    )


def recorded(stimuli: StimulusSet, **options: Any) -> xr.Dataset:
    return record(Bank(), stimuli, ["linear"], input_format=FORMAT, **options).load()


def averaged(maps: np.ndarray, stimuli: StimulusSet, x: float, y: float) -> np.ndarray:
    """Maps averaged over the checks of a set of spots that cover every pixel once."""
    shown = stimuli.render(FIELD.centered_on(x, y))[:, 0].numpy().reshape(len(stimuli), -1) != 0.5
    shown = np.unique(shown, axis=0)
    shown = shown[shown.any(1)]
    assert (shown.sum(0) == 1).all()
    flat = maps.reshape(len(maps), -1)
    means = flat @ (shown / shown.sum(1, keepdims=True)).T
    return (means @ shown).reshape(maps.shape)


# float32: a response is a sum of 225 products of weights and luminances and a bias, off by at most
# 226 times 2^-24 of the sum of their absolute values.
LARGEST = float(abs(filters()).sum((1, 2)).max()) + 5
RESPONSE_ERROR = 226 * 2.0**-24 * LARGEST
# At each place the map is the difference of two responses over that of luminances, 1.
MAP_ERROR = 2 * RESPONSE_ERROR


# Reverse correlation.


@pytest.mark.parametrize("pixels", [1, 2, 3])
@pytest.mark.parametrize("contrast", [1, 0.25])
def test_spots_of_both_polarities_give_the_filter_itself(pixels: int, contrast: float) -> None:
    stimuli = spots(pixels, contrast=contrast)
    responses = recorded(stimuli)
    assert (responses["rf_x"] == RF_X).all()
    assert (responses["rf_y"] == RF_Y).all()
    maps = reverse_correlation(responses, stimuli, FIELD)
    expected = averaged(planted(), stimuli, float(RF_X), float(RF_Y))
    np.testing.assert_allclose(maps, expected, rtol=0, atol=MAP_ERROR / contrast)
    assert MAP_ERROR / contrast < 0.01 * abs(expected).max()


def test_spots_where_they_are_on_the_screen_give_the_filter_where_it_is() -> None:
    stimuli = spots(1)
    for options in ({"centered": False}, {"readout": "map"}):
        responses = recorded(stimuli, **options)
        maps = reverse_correlation(responses, stimuli, FIELD)
        here = (responses["row"] == 1) & (responses["column"] == 2)
        np.testing.assert_allclose(maps.isel(unit=here.values), planted(), rtol=0, atol=MAP_ERROR)


def test_units_that_saw_the_stimuli_at_different_places_share_the_pixels_of_the_image() -> None:
    stimuli = spots(1)
    responses = recorded(stimuli, readout=[(1, 2), (3, 5), (0, 0)])
    maps = reverse_correlation(responses, stimuli, FIELD)
    assert maps.sizes == {"unit": 12, "y": 18, "x": 20}
    for unit in range(12):
        down, right = (int(responses[name][unit]) - n for name, n in [("row", 1), ("column", 2)])
        expected = np.roll(planted()[int(responses["channel"][unit])], (down, right), (0, 1))
        np.testing.assert_allclose(maps[unit], expected, rtol=0, atol=MAP_ERROR)
    relative = maps["x"] - maps["rf_x"]
    assert (abs(relative).min("x") < 1e-12).all()


def test_pooled_units_saw_the_stimuli_at_the_centre_of_the_field() -> None:
    stimuli = spots(1)
    responses = recorded(stimuli, readout="mean")
    maps = reverse_correlation(responses, stimuli, FIELD)
    shifted = [
        np.roll(planted(), (row - 1, column - 2), (1, 2)) for row in range(4) for column in range(6)
    ]
    np.testing.assert_allclose(maps, np.mean(shifted, axis=0), rtol=0, atol=MAP_ERROR)


@pytest.mark.parametrize("pixels", [1, 2])
def test_white_noise_gives_the_filter_as_well_as_so_many_stimuli_can(pixels: int) -> None:
    """A check of n pixels has an error of variance E / (n S), with E the averaged filter's energy,
    S stimuli, and a filter of length sqrt(E) over P pixels: the expected correlation is
    1 / sqrt(1 + P / (n S))."""
    count = 3000
    stimuli = noise(count, pixels)
    maps = reverse_correlation(recorded(stimuli), stimuli, FIELD)
    together = stimuli.check_pixels(FIELD.centered_on(float(RF_X), float(RF_Y)))[0]
    seen = stimuli[:64].render(FIELD.centered_on(float(RF_X), float(RF_Y)))[:, 0].numpy()
    flat = seen.reshape(64, -1)
    same = (flat[:, :, None] == flat[:, None, :]).all(0)  # (pixel, pixel), of one check
    truth = planted().reshape(4, -1) @ (same / same.sum(0))
    off = maps.values.reshape(4, -1) - truth
    for unit in range(4):
        energy = (truth[unit] ** 2).sum()
        # Without the check's own share, which has no error, and by degrees of freedom: the checks.
        share = same @ truth[unit] ** 2
        variance = ((energy - share) / together.ravel() / count).sum()
        checks = (1 / together).sum()
        assert (off[unit] ** 2).sum() == pytest.approx(variance, rel=4.5 * np.sqrt(2 / checks))
        expected = 1 / np.sqrt(1 + variance / energy)
        found = maps.values[unit].ravel()
        correlation = found @ truth[unit] / np.sqrt((found @ found) * energy)
        # To first order, by as much as the sum above may be off; errors along the filter cancel.
        slack = variance / energy / 2 * 4.5 * np.sqrt(2 / checks)
        assert correlation == pytest.approx(expected, abs=slack)
        assert expected > 0.9


def test_a_fit_of_the_map_recovers_the_planted_gabor_as_well_as_the_map_allows() -> None:
    """e' J J' e / variance is as chi squared of 9 degrees of freedom for each unit: Cramer, Rao."""
    count = 3000
    stimuli = noise(count)
    fitted = fit_gabor(reverse_correlation(recorded(stimuli), stimuli, FIELD))
    assert fitted["converged"].all()
    wanted = xr.Dataset(
        {name: ("unit", values) for name, values in GABORS.items()}
        | {name: ("unit", [1.0] * 4) for name in ("amplitude",)}
        | {name: ("unit", [SD] * 4) for name in ("sd_along", "sd_across")}
    )
    wanted["center_x"], wanted["center_y"] = wanted["center_x"] + RF_X, wanted["center_y"] + RF_Y
    off = parameters(fitted) - parameters(wanted)
    off[:, 5] = (off[:, 5] + np.pi / 2) % np.pi - np.pi / 2
    assert (abs(off[:, 5]) < 0.1).all()  # radians, and not over the edge where the phase turns
    jacobian = Gabor(FIELD.x, FIELD.y).jacobian(parameters(wanted))
    variance = (planted() ** 2).sum((1, 2)) / count
    squared = np.einsum("up,upn,uqn,uq->u", off, jacobian, jacobian, off) / variance
    assert squared.sum() < 4 * 9 + 4.5 * np.sqrt(2 * 4 * 9)
    np.testing.assert_array_equal(fitted["rf_x"], [RF_X] * 4)


def parameters(fitted: xr.Dataset) -> np.ndarray:
    """As :class:`Gabor` has them; no baseline is planted."""
    phase = np.deg2rad(fitted["phase"])
    columns = [
        fitted["amplitude"] * np.cos(phase),
        fitted["amplitude"] * np.sin(phase),
        fitted.get("baseline", 0 * phase),
        fitted["center_x"],
        fitted["center_y"],
        np.deg2rad(fitted["orientation"]),
        fitted["spatial_frequency"],
        np.log(fitted["sd_along"]),
        np.log(fitted["sd_across"]),
    ]
    return np.stack([np.asarray(column) for column in columns], axis=1)


def test_both_noises_together_are_correlated_as_one() -> None:
    stimuli = spots(1) + noise(200)
    responses = recorded(stimuli)
    maps = reverse_correlation(responses, stimuli, FIELD)
    d = stimuli.render(FIELD.centered_on(float(RF_X), float(RF_Y)))[:, 0].double().numpy() - 0.5
    r = responses["response"].values.astype(float)
    expected = np.einsum("su,syx->uyx", r - r.mean(0), d) / (d**2).sum(0)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-12 * LARGEST)


def test_light_spots_alone_leave_out_the_mean_of_the_map() -> None:
    stimuli = spots(1, polarity=1)
    maps = reverse_correlation(recorded(stimuli), stimuli, FIELD)
    # 29 x 29 places, of which only those on the field are seen.
    expected = planted() - planted().sum((1, 2), keepdims=True) / 29**2
    # A response less the mean of all, over a luminance of 0.5.
    np.testing.assert_allclose(maps, expected, rtol=0, atol=2 * MAP_ERROR)


def test_where_nothing_was_shown_the_map_is_nan() -> None:
    stimuli = sweep(
        white_noise, seed=range(50), check_size=PIXEL, side=8 * PIXEL, mean_luminance=0.3
    )
    maps = reverse_correlation(recorded(stimuli), stimuli, FIELD)
    shown = stimuli.check_pixels(FIELD.centered_on(float(RF_X), float(RF_Y)))[0] > 0
    assert shown.sum() == 64
    np.testing.assert_array_equal(np.isfinite(maps), np.broadcast_to(shown, maps.shape))


def test_of_encoded_spots_the_map_is_by_pixel_values() -> None:
    """As the model sees them: a light one is 0.26 above the grey, a dark one 0.74 below."""
    plain = spots(1)
    encoded = StimulusSet(plain.table.assign(encoding=("stimulus", ["srgb"] * len(plain))))
    light, grey = encoded.render(FIELD).max(), encoded.blank.render(FIELD).max()
    np.testing.assert_allclose([light, grey], [1, 1.055 * 0.5 ** (1 / 2.4) - 0.055], rtol=1e-6)
    maps = reverse_correlation(recorded(encoded), encoded, FIELD)
    up, down = float(light - grey), -float(grey)
    # Of the two spots at each place the responses w d are weighted by d; those less their mean over
    # all stimuli, which 29 x 29 places share, are off by w of all places times the mean of d.
    mean = planted().sum((1, 2), keepdims=True) * (up + down) / 2 / 29**2
    expected = planted() - mean * (up + down) / (up**2 + down**2)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=2 * MAP_ERROR)


def test_there_is_no_map_by_noise_of_a_color() -> None:
    stimuli = sweep(
        white_noise, seed=range(3), check_size=PIXEL, side=1, color="dkl", azimuth=0, contrast=0.5
    )
    shown = noise(3)
    responses = recorded(shown).assign_coords(
        {name: ("stimulus", c.values) for name, c in stimuli.table.items()}
    )
    with pytest.raises(ValueError, match=r"^maps are by luminance; show noise without a color$"):
        reverse_correlation(responses, stimuli, FIELD)


def test_maps_say_where_their_pixels_are_and_whose_they_are() -> None:
    stimuli = spots(2)
    responses = recorded(stimuli)
    maps = reverse_correlation(responses, stimuli, FIELD)
    assert maps.dims == ("unit", "y", "x")
    np.testing.assert_array_equal(maps["x"], FIELD.x)
    np.testing.assert_array_equal(maps["y"], FIELD.y)
    for name in ("layer", "channel", "row", "column", "rf_x", "rf_y"):
        xr.testing.assert_identical(maps[name].variable, responses[name].variable)
    assert maps.attrs == {"long_name": "response per luminance and pixel", "units": "1"}
    assert maps["x"].attrs["units"] == "degree"


def test_no_more_images_are_drawn_at_a_time_for_more_stimuli(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stimuli = noise(40)
    responses = recorded(stimuli)
    whole = reverse_correlation(responses, stimuli, FIELD)
    monkeypatch.setattr(mapping, "CORRELATED", 7)
    sizes: list[int] = []
    render = StimulusSet.render

    def counting(self: StimulusSet, *arguments: Any, **options: Any) -> Tensor:
        sizes.append(len(self))
        return render(self, *arguments, **options)

    monkeypatch.setattr(StimulusSet, "render", counting)
    parts = reverse_correlation(responses, stimuli, FIELD)
    assert sizes == [1, *[7] * 5, 5]  # the background, and the noise
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12 * LARGEST)


def test_a_unit_without_a_response_to_every_stimulus_is_nan() -> None:
    stimuli = noise(20)
    responses = recorded(stimuli)
    responses["response"][3, 1] = np.nan
    maps = reverse_correlation(responses, stimuli, FIELD)
    assert maps.isnull().all(("y", "x")).values.tolist() == [False, True, False, False]


def test_stimuli_other_than_those_shown_are_refused() -> None:
    stimuli = noise(20)
    responses = recorded(stimuli)
    others = responses.assign_coords(family=("stimulus", ["sparse_noise"] * 20))
    refused: list[tuple[xr.Dataset, StimulusSet, str]] = [
        (responses, stimuli[:19], r"^responses to 20 stimuli, but a set of 19; pass the set that"),
        (responses, noise(20, first=5), r"^stimulus 0 was shown with seed=0\.0, but .* 5\.0; pass"),
        (responses, spots(1)[:20], r"^stimulus 0 was shown with family=white_noise, but the set"),
        (others, spots(1)[:20], r"^responses to stimuli without a polarity; pass the set"),
    ]
    for given, wrong, message in refused:
        with pytest.raises(ValueError, match=message):
            reverse_correlation(given, wrong, FIELD)


def test_gratings_are_refused() -> None:
    stimuli = sweep(grating, spatial_frequency=1, phase=[0, 90])
    with pytest.raises(ValueError, match="a grating is not made of checks; these families are"):
        reverse_correlation(recorded(stimuli), stimuli, FIELD)


# Gradients.


def mapped(model: nn.Module, layers: list[str], **options: Any) -> xr.Dataset:
    defaults = {"input_format": FORMAT}
    return gradient_map(model, noise(20), layers, **(defaults | options))


def test_the_gradient_of_a_linear_unit_is_its_filter() -> None:
    maps = mapped(Bank(), ["linear"])
    responses = recorded(noise(1))
    for name in ("layer", "channel", "row", "column", "rf_x", "rf_y"):
        xr.testing.assert_identical(maps[name].variable, responses[name].variable)
    # Sums of zeros and one weight, and a mean of twenty times the same.
    np.testing.assert_allclose(maps["mean"], planted(), rtol=1e-15)
    np.testing.assert_allclose(maps["rms"], abs(planted()), rtol=1e-15)


def test_it_is_the_map_that_reverse_correlation_measures() -> None:
    stimuli = spots(1)
    measured = reverse_correlation(recorded(stimuli), stimuli, FIELD)
    derived = mapped(Bank(), ["linear"])["mean"]
    xr.testing.assert_equal(measured["x"], derived["x"])
    np.testing.assert_allclose(measured, derived, rtol=0, atol=MAP_ERROR)


def test_a_unit_at_another_position_has_its_filter_there() -> None:
    maps = mapped(Bank(), ["linear"], position=(3, 0))
    np.testing.assert_allclose(maps["mean"], np.roll(planted(), (2, -2), (1, 2)), rtol=1e-15)
    assert (maps["row"] == 3).all()
    assert (maps["column"] == 0).all()


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(self.order)


LAYOUTS: dict[str, list[nn.Module]] = {
    "with a stride and padding": [nn.Conv2d(1, 4, 5, stride=4, padding=2)],
    "channels last": [nn.Conv2d(1, 4, 5, padding=2), Permute(0, 2, 3, 1)],
    "tokens": [nn.Conv2d(1, 4, 5, stride=5), nn.Flatten(2), Permute(0, 2, 1)],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_units_are_those_of_a_recording(name: str) -> None:
    model, stimuli = nn.Sequential(*LAYOUTS[name]), spots(1)
    layer = str(len(model) - 1)
    maps = mapped(model, [layer])
    responses = record(model, stimuli, [layer], input_format=FORMAT).load()
    for place in ("channel", "row", "column", "rf_x", "rf_y"):
        xr.testing.assert_identical(maps[place].variable, responses[place].variable)
    measured = reverse_correlation(responses, stimuli, FIELD)
    # Weights are at most 1/5: what bounds a larger filter of larger weights bounds this one.
    np.testing.assert_allclose(maps["mean"], measured, rtol=0, atol=MAP_ERROR)
    assert maps["mean"].max() > 100 * MAP_ERROR


def test_the_gradient_is_by_luminance_whatever_the_model_takes() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 2, SIZE)
    model = nn.Sequential(convolution).double()
    std = (0.2, 0.25, 0.5)
    wanted = InputFormat(3, 18, 20, 10, scale=255, mean=(100, 110, 120), std=std)
    maps = mapped(model, ["0"], input_format=wanted)
    weight = convolution.weight.detach().numpy()
    expected = np.zeros((2, 18, 20))
    row, column = (place - SIZE // 2 for place in LOOKS_AT)
    expected[:, row : row + SIZE, column : column + SIZE] = (
        255 * weight / np.array(std)[:, None, None]
    ).sum(1)
    # The luminance is float32, and so is its gradient.
    np.testing.assert_allclose(maps["mean"], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_by_luminance_whatever_is_shown(channels: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(channels, 2, SIZE)).double()
    stimuli = sweep(
        grating, spatial_frequency=1, phase=[0, 90], color="dkl", azimuth=[0, 90], contrast=0.5
    )
    wanted = InputFormat(channels, 18, 20, 10, std=(0.2, 0.25, 0.5)[:channels])
    by_noise = mapped(model, ["0"], input_format=wanted)
    by_color = gradient_map(model, stimuli, ["0"], input_format=wanted)
    xr.testing.assert_allclose(by_color, by_noise, rtol=1e-12)


def test_a_rectified_units_gradient_counts_the_images_that_excite_it() -> None:
    model = nn.Sequential(Bank().linear, nn.ReLU())
    stimuli = noise(25)
    with torch.inference_mode():
        active = (model(stimuli.render(FIELD))[:, :, 1, 2] > 0).double().mean(0).numpy()
    assert ((active > 0) & (active < 1)).any()
    maps = gradient_map(model, stimuli, ["1"], input_format=FORMAT)
    share = active[:, None, None]
    np.testing.assert_allclose(maps["mean"], share * planted(), rtol=1e-12)
    np.testing.assert_allclose(maps["rms"], np.sqrt(share) * abs(planted()), rtol=1e-12)


def test_several_layers_and_features_without_positions_at_once() -> None:
    torch.manual_seed(1)
    model, stimuli = Bank(), noise(7)
    maps = gradient_map(model, stimuli, ["linear", "features"], input_format=FORMAT)
    assert maps["layer"].values.tolist() == ["linear"] * 4 + ["features"] * 3
    assert maps["channel"].values.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert maps["row"].isnull().values.tolist() == [False] * 4 + [True] * 3
    jacobians = torch.func.vmap(torch.func.jacrev(lambda image: model(image[None])[0]))(
        stimuli.render(FIELD)
    )
    expected = jacobians.detach()[:, :, 0].double().numpy()  # (image, feature, y, x)
    features = maps.isel(unit=slice(4, None))
    # float32 sums of 96 products of numbers of the order of 0.1.
    np.testing.assert_allclose(features["mean"], expected.mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(features["rms"], np.sqrt((expected**2).mean(0)), rtol=0, atol=1e-6)


def test_images_in_batches_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    model = Bank()
    together = mapped(model, ["features"])
    monkeypatch.setattr(mapping, "DIFFERENTIATED", 3)
    xr.testing.assert_allclose(mapped(model, ["features"]), together, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_model_is_left_as_it_was(mode: Callable[[], AbstractContextManager[None]]) -> None:
    model = nn.Sequential(Bank().linear, nn.Dropout(0.5), nn.BatchNorm2d(4)).train()
    model[0].weight.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    with mode():
        maps = mapped(model, ["2"])
    np.testing.assert_allclose(maps["mean"], planted() / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_unit_that_no_pixel_moves_has_a_gradient_of_0() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Linear(1, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.level(torch.ones(len(images), 1))

    maps = mapped(Constant(), ["level"])
    assert (maps["mean"] == 0).all()
    assert (maps["rms"] == 0).all()


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, images: Tensor) -> Tensor:
        return self.flatten(images.detach())


REFUSED: list[tuple[nn.Module, str, dict[str, Any], str]] = [
    (
        Bank(),
        "linear",
        {"position": (4, 0)},
        r"^layer 'linear' has no position=\(4, 0\), but 24,",
    ),
    (Bank(), "linear", {"position": (0, -1)}, r"^layer 'linear' has no position=\(0, -1\)"),
    (Detached(), "flatten", {}, "^layer 'flatten' passes no gradient on to the image$"),
    (nn.Sequential(nn.Flatten(0)), "0", {}, "^layer '0' answers with shape"),
    (
        Bank(),
        "linear",
        {"input_format": None},
        "Bank does not say what it takes; pass input_format",
    ),
]


@pytest.mark.parametrize(("model", "layer", "options", "message"), REFUSED)
def test_what_has_no_gradient_map_is_refused(
    model: nn.Module, layer: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mapped(model, [layer], **options)


def test_no_stimuli_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^there are 0 stimuli to differentiate at; show at least"
    ):
        gradient_map(Bank(), noise(3)[:0], ["linear"], input_format=FORMAT)


def test_an_unknown_layer_is_refused_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="linear"):
        mapped(Bank(), ["linaer"])
