"""Recordings against networks sliced by hand, and recordings that were stopped and resumed."""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ephys.models.input_format import InputFormat
from ephys.recording import Readout, record
from ephys.responses import open_store
from ephys.stimuli import StimulusSet, blank, gabor, grating, sweep
from ephys.visual_field import VisualField

FORMAT = InputFormat(channels=1, height_px=24, width_px=32, pixels_per_degree=8)
STIMULI = sweep(
    gabor,
    spatial_frequency=[1, 2],
    envelope_sd=0.4,
    contrast=[0.5, 1],
    orientation=[0, 45, 90, 135],
    phase=[0, 90],
)
BATCH = 5  # 32 stimuli are six batches and a rest of two
# Of the network below: where its units are nearest the centre, and the pixel they look at.
# first: pixel 1 + 2 r, nearest to (11.5, 15.5); second: 1 + 4 r.
PLACES = {"first": ((5, 7), (11, 15)), "second": ((3, 4), (13, 17))}


def randomized(model: nn.Module, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    return model


def network(seed: int = 1) -> Any:
    """Maps of 11 x 15 and 6 x 8 positions, a ReLU in place between them, and three features."""
    return randomized(
        nn.Sequential(
            OrderedDict(
                first=nn.Conv2d(1, 4, 5, stride=2, padding=1),
                relu=nn.ReLU(inplace=True),
                second=nn.Conv2d(4, 6, 3, stride=2, padding=1),
                flat=nn.Flatten(),
                head=nn.Linear(6 * 6 * 8, 3),
            )
        ),
        seed,
    )


def shown(stimuli: StimulusSet, field: VisualField, x: float = 0, y: float = 0) -> Tensor:
    return stimuli.render(field.centered_on(x, y))


def by_hand(model: Any, layer: str, images: Tensor) -> Tensor:
    """What a layer of ``network`` answers, before anything is done to it in place."""
    with torch.inference_mode():
        first = model.first(images)
        if layer == "first":
            return first
        second = model.second(first.clamp(min=0))
        return second if layer == "second" else model.head(second.flatten(1))


def recorded(*arguments: Any, **options: Any) -> xr.Dataset:
    defaults: dict[str, Any] = {"input_format": FORMAT, "batch_size": 64}
    return record(*arguments, **defaults | options).load()


def of_layer(responses: xr.Dataset, layer: str) -> xr.Dataset:
    return responses.isel(unit=np.flatnonzero(responses["layer"].values == layer))


@contextmanager
def watched(model: nn.Module, stop_after: float = math.inf) -> Iterator[list[int]]:
    """Notes the size of each batch of stimuli shown, and interrupts when there were so many."""
    sizes: list[int] = []

    def watch(module: nn.Module, inputs: tuple[Tensor]) -> None:
        # Neither the blank nor the noise that receptive fields are measured with.
        if inputs[0].shape[0] > 1 and not inputs[0].requires_grad:
            if len(sizes) >= stop_after:
                raise KeyboardInterrupt
            sizes.append(inputs[0].shape[0])

    handle = model.register_forward_pre_hook(watch)
    try:
        yield sizes
    finally:
        handle.remove()


@pytest.mark.parametrize("layer", ["first", "second"])
def test_the_central_unit_is_the_network_sliced_at_the_recorded_place(layer: str) -> None:
    model = network()
    responses = recorded(model, STIMULI, [layer])
    (row, column), (pixel_row, pixel_column) = PLACES[layer]
    assert (responses["row"] == row).all()
    assert (responses["column"] == column).all()
    # Degrees of that pixel: multiples of 1/16, exact.
    assert (responses["rf_x"] == FORMAT.field.x[pixel_column]).all()
    assert (responses["rf_y"] == FORMAT.field.y[pixel_row]).all()
    x, y = float(responses["rf_x"][0]), float(responses["rf_y"][0])
    expected = by_hand(model, layer, shown(STIMULI, FORMAT.field, x, y))[:, :, row, column]
    np.testing.assert_array_equal(responses["response"], expected)  # one batch: the same sums
    silence = by_hand(model, layer, torch.full((1, 1, 24, 32), 0.5))[0, :, row, column]
    np.testing.assert_array_equal(responses["blank"], silence)


@pytest.mark.parametrize(("readout", "pool"), [("mean", Tensor.mean), ("max", Tensor.amax)])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_pooled_unit_is_the_pool_of_the_whole_map(
    layer: str, readout: Readout, pool: Any
) -> None:
    model = network()
    responses = recorded(model, STIMULI, [layer], readout=readout)
    expected = pool(by_hand(model, layer, shown(STIMULI, FORMAT.field)), (2, 3))
    np.testing.assert_array_equal(responses["response"], expected)
    silence = pool(by_hand(model, layer, torch.full((1, 1, 24, 32), 0.5)), (2, 3))[0]
    np.testing.assert_array_equal(responses["blank"], silence)
    for name in ("row", "column", "rf_x", "rf_y"):
        assert np.isnan(responses[name]).all()


@pytest.mark.parametrize("readout", get_args(Readout))
def test_features_without_positions_are_recorded_as_they_are(readout: Readout) -> None:
    model = network()
    responses = recorded(model, STIMULI, ["head"], readout=readout)
    expected = by_hand(model, "head", shown(STIMULI, FORMAT.field))
    np.testing.assert_array_equal(responses["response"], expected)
    assert responses["channel"].values.tolist() == [0, 1, 2]
    for name in ("row", "column", "rf_x", "rf_y"):
        assert np.isnan(responses[name]).all()


def test_layers_with_different_centres_are_each_shown_their_own_stimulus() -> None:
    model = network()
    together = recorded(model, STIMULI, ["head", "second", "first"])
    # In the order of the model, and as if each had been recorded alone.
    assert together["layer"].values.tolist() == ["first"] * 4 + ["second"] * 6 + ["head"] * 3
    assert together["channel"].values.tolist() == [*range(4), *range(6), *range(3)]
    for layer in ("first", "second", "head"):
        alone = recorded(model, STIMULI, [layer])
        part = of_layer(together, layer)
        for name in ("response", "blank", "row", "column", "rf_x", "rf_y"):
            np.testing.assert_array_equal(part[name], alone[name])


@pytest.mark.parametrize("readout", get_args(Readout))
def test_a_relu_in_place_does_not_rectify_what_was_recorded_before_it(readout: Readout) -> None:
    # Both layers look at the same pixel, so that one forward pass goes through both.
    model = randomized(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    )
    together = of_layer(recorded(model, STIMULI, ["0", "2"], readout=readout), "0")
    alone = recorded(model, STIMULI, ["0"], readout=readout)
    assert (alone["response"] < 0).any()
    np.testing.assert_array_equal(together["response"], alone["response"])


def test_a_glob_records_what_it_fits() -> None:
    responses = recorded(network(), STIMULI, ["*s*"], readout="mean")
    assert list(dict.fromkeys(responses["layer"].values)) == ["first", "second"]


def rounding_of(model: Any, layer: str) -> float:
    """How far two orders of summing can be apart in float32, for images in [0, 1]."""
    unit = 2.0**-24
    reach = model.first.weight.abs().sum((1, 2, 3)).max().item() + 0.5
    error = 2 * (25 + 1) * unit * reach
    if layer == "second":
        total = model.second.weight.abs().sum((1, 2, 3)).max().item()
        error = total * error + 2 * (4 * 9 + 1) * unit * (total * reach + 0.5)
    return error


@pytest.mark.parametrize("batch_size", [1, 3, 31])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_the_batch_size_changes_nothing_but_rounding(layer: str, batch_size: int) -> None:
    model = network()
    whole = recorded(model, STIMULI, [layer])
    parts = recorded(model, STIMULI, [layer], batch_size=batch_size)
    np.testing.assert_allclose(
        parts["response"], whole["response"], rtol=0, atol=rounding_of(model, layer)
    )
    again = recorded(model, STIMULI, [layer], batch_size=batch_size)
    np.testing.assert_array_equal(again["response"], parts["response"])


@settings(deadline=None, max_examples=25)
@given(
    place=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    size=st.tuples(st.integers(20, 28), st.integers(20, 28)),
    contrast=st.floats(0.1, 1),
)
def test_the_stimulus_is_centred_on_the_pixel_that_the_unit_sees(
    place: tuple[int, int],
    stride: int,
    padding: int,
    size: tuple[int, int],
    contrast: float,
) -> None:
    # A unit that sees one pixel: its answer is the luminance there.
    model = nn.Sequential(nn.Conv2d(1, 1, 5, stride=stride, padding=padding, bias=False))
    weight = model[0].weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.zero_()
        weight[0, 0, place[0], place[1]] = 1
    height, width = size
    input_format = InputFormat(1, height, width, pixels_per_degree=8)
    stimuli = sweep(
        gabor, spatial_frequency=1, envelope_sd=0.2, contrast=contrast, orientation=[0, 90]
    )
    responses = recorded(model, stimuli, ["0"], input_format=input_format)

    pixels = [
        [
            stride * index - padding + offset
            for index in range((side + 2 * padding - 5) // stride + 1)
        ]
        for side, offset in zip(size, place, strict=True)
    ]
    nearest = [
        min(range(len(line)), key=lambda index: (abs(line[index] - (side - 1) / 2), index))
        for line, side in zip(pixels, size, strict=True)
    ]
    assert [int(responses["row"][0]), int(responses["column"][0])] == nearest
    row, column = (line[index] for line, index in zip(pixels, nearest, strict=True))
    # A division by 8 is exact.
    assert float(responses["rf_x"][0]) == input_format.field.x[column]
    assert float(responses["rf_y"][0]) == input_format.field.y[row]
    # The peak of the patch, wherever it is drawn: a product and a sum in float32.
    peak = 0.5 * (1 + contrast)
    np.testing.assert_allclose(responses["response"], peak, rtol=0, atol=2 * 2**-24)
    field = input_format.field.centered_on(float(responses["rf_x"][0]), float(responses["rf_y"][0]))
    for image in stimuli.render(field)[:, 0].numpy():
        assert np.unravel_index(image.argmax(), image.shape) == (row, column)


def test_a_unit_that_sees_everything_looks_at_the_centre() -> None:
    model = randomized(nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1)))
    responses = recorded(model, STIMULI, ["1"])
    assert (responses["row"] == 0).all()
    assert (responses["rf_x"] == 0).all()
    assert (responses["rf_y"] == 0).all()
    images = shown(STIMULI, FORMAT.field)
    with torch.inference_mode():
        expected = model.eval()(images)[:, :, 0, 0]
    np.testing.assert_array_equal(responses["response"], expected)


def test_where_a_unit_looks_that_nothing_moves_is_not_a_number() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    responses = recorded(model, STIMULI, ["0"])
    assert (responses["response"] == 0).all()
    assert np.isnan(responses["rf_x"]).all()
    assert np.isnan(responses["rf_y"]).all()


def test_grey_stimuli_reach_all_channels_of_a_color_model_as_it_wants_them() -> None:
    model = randomized(nn.Sequential(nn.Conv2d(3, 4, 5, padding=2)))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    color = InputFormat(3, 24, 32, pixels_per_degree=8, scale=255.0, mean=mean, std=std)
    responses = recorded(model, STIMULI, ["0"], input_format=color)
    grey = shown(STIMULI, color.field, float(responses["rf_x"][0]), float(responses["rf_y"][0]))
    row, column = int(responses["row"][0]), int(responses["column"][0])
    channels = [(grey * 255 - m) / s for m, s in zip(mean, std, strict=True)]
    with torch.inference_mode():
        expected = model(torch.cat(channels, dim=1))[:, :, row, column]
    # 75 products of up to 0.5 * 255 / 0.2, in an order that the layout in memory may change.
    np.testing.assert_allclose(
        responses["response"], expected, rtol=0, atol=2 * 76 * 2**-24 * 75 * 0.5 * 255 / 0.2
    )


def test_a_model_in_training_is_recorded_in_evaluation_and_left_in_training() -> None:
    model = randomized(
        nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 3))
    )
    with torch.no_grad():
        model[1].running_mean.fill_(0.25)
        model[1].running_var.fill_(4.0)
    expected = recorded(model.eval(), STIMULI, ["2", "3"])
    model.train()
    model[1].eval()  # frozen by its owner
    before = {name: values.clone() for name, values in model.state_dict().items()}
    state = torch.get_rng_state()
    responses = recorded(model, STIMULI, ["2", "3"])
    xr.testing.assert_identical(responses, expected)
    assert [module.training for module in model] == [True, False, True, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_coordinates_and_attributes_are_labels_numbers_and_short_strings() -> None:
    responses = recorded(network(), STIMULI, ["first", "head"], provenance={"source": "here"})
    assert responses["response"].dims == ("stimulus", "unit")
    assert responses["response"].dtype == np.float32
    assert responses["response"].shape == (32, 7)
    assert responses["blank"].dims == ("unit",)
    of_units = {"layer", "channel", "row", "column", "rf_x", "rf_y"}
    of_stimuli = {"family", *STIMULI.parameters}
    assert {name for name, c in responses.coords.items() if c.dims == ("unit",)} == of_units
    assert {name for name, c in responses.coords.items() if c.dims == ("stimulus",)} == of_stimuli
    assert set(responses.coords) == of_units | of_stimuli
    assert not responses.indexes  # no index, so no MultiIndex
    for name, coordinate in responses.coords.items():
        assert coordinate.dtype.kind in ("U" if name in ("layer", "family") else "fi")
    for name in STIMULI.parameters:
        np.testing.assert_array_equal(responses[name], STIMULI.table[name])
        assert responses[name].attrs["units"] == STIMULI.table[name].attrs["units"]
    assert (responses["family"] == "gabor").all()
    assert responses["rf_x"].attrs["units"] == responses["rf_y"].attrs["units"] == "degree"
    for attributes in [responses.attrs, *(v.attrs for v in responses.variables.values())]:
        for value in attributes.values():
            assert isinstance(value, (str, int, float))
    assert {name: responses.attrs[name] for name in ("source", "layers", "readout")} == {
        "source": "here",
        "layers": "first, head",
        "readout": "center",
    }
    assert responses.attrs["stimuli_sha256"] == STIMULI.sha256
    assert responses.attrs["pixels_per_degree"] == 8
    assert responses.attrs["batch_size"] == 64
    assert responses.attrs["device"] == "cpu"
    said = json.loads(responses.attrs["input_format"])
    assert InputFormat(**said | {"mean": tuple(said["mean"]), "std": tuple(said["std"])}) == FORMAT


def test_the_models_own_format_is_used_and_asked_for_where_there_is_none() -> None:
    model = network()
    with pytest.raises(ValueError, match=r"Sequential does not say .* input_format="):
        record(model, STIMULI, ["first"])
    model.input_format = FORMAT
    own = record(model, STIMULI, ["first"], batch_size=64).load()
    xr.testing.assert_identical(own, recorded(model, STIMULI, ["first"]))


def test_a_recording_on_disk_is_the_one_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    in_memory = recorded(network(), STIMULI, ["first", "second"], batch_size=BATCH)
    returned = recorded(network(), STIMULI, ["first", "second"], batch_size=BATCH, path=path)
    xr.testing.assert_identical(returned, in_memory)
    xr.testing.assert_identical(open_store(path).load(), in_memory)
    named = recorded(
        network(), STIMULI, ["first", "second"], batch_size=BATCH, path=str(tmp_path / "named")
    )
    xr.testing.assert_identical(named, in_memory)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["named", "responses.zarr"]


@pytest.mark.parametrize("batches", [0, 1, 4, 6])
def test_a_resumed_recording_is_the_uninterrupted_one(tmp_path: Path, batches: int) -> None:
    path, model = tmp_path / "responses.zarr", network()
    how: dict[str, Any] = {"batch_size": BATCH, "path": path}
    with watched(model, stop_after=batches), pytest.raises(KeyboardInterrupt):
        recorded(model, STIMULI, ["first"], **how)
    left = open_store(path).load()
    done = np.isfinite(left["response"].values).all(1)
    assert done.tolist() == [index < BATCH * batches for index in range(32)]
    assert np.isnan(left["response"].values[~done]).all()
    with watched(model) as sizes:
        resumed = recorded(model, STIMULI, ["first"], **how, resume=True)
    assert sum(sizes) == 32 - BATCH * batches  # nothing was recorded twice
    whole = recorded(model, STIMULI, ["first"], batch_size=BATCH)
    xr.testing.assert_identical(resumed, whole)
    xr.testing.assert_identical(open_store(path).load(), whole)


def test_resuming_what_is_complete_shows_nothing_again(tmp_path: Path) -> None:
    path, model = tmp_path / "responses.zarr", network()
    first = recorded(model, STIMULI, ["first"], path=path)
    with watched(model) as sizes:
        again = recorded(model, STIMULI, ["first"], path=path, resume=True)
    assert sizes == []
    xr.testing.assert_identical(again, first)


def test_resuming_where_nothing_is_begins(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    begun = recorded(network(), STIMULI, ["first"], path=path, resume=True)
    xr.testing.assert_identical(begun, recorded(network(), STIMULI, ["first"]))


def test_resuming_from_another_command_keeps_the_first_provenance(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    recorded(network(), STIMULI, ["first"], path=path, provenance={"command": "ephys probe"})
    again = recorded(
        network(),
        STIMULI,
        ["first"],
        path=path,
        resume=True,
        provenance={"command": "ephys probe --resume"},
    )
    assert again.attrs["command"] == "ephys probe"


OTHER_FORMAT = InputFormat(channels=1, height_px=24, width_px=32, pixels_per_degree=9)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"model": network(seed=2)}, "model_sha256"),
        ({"stimuli": STIMULI[::-1]}, "stimuli_sha256"),
        ({"layers": ["second"]}, "layers='first', not 'second'"),
        ({"readout": "mean"}, "readout='center', not 'mean'"),
        ({"batch_size": 7}, "batch_size=64, not 7"),
        ({"input_format": OTHER_FORMAT}, "input_format="),
    ],
)
def test_resuming_another_experiment_is_refused_naming_the_difference(
    tmp_path: Path, changed: dict[str, Any], name: str
) -> None:
    path = tmp_path / "responses.zarr"
    same = {"model": network(), "stimuli": STIMULI, "layers": ["first"], "path": path}
    before = recorded(**same)
    with pytest.raises(ValueError, match=rf"responses\.zarr was recorded with {name}"):
        recorded(**same | changed, resume=True)
    xr.testing.assert_identical(open_store(path).load(), before)


def test_resuming_another_model_with_the_same_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    rectified, squashed = (nn.Sequential(nn.Conv2d(1, 2, 3), f) for f in (nn.ReLU(), nn.Tanh()))
    recorded(randomized(rectified), STIMULI, ["1"], path=path)
    with pytest.raises(ValueError, match="model"):
        recorded(randomized(squashed), STIMULI, ["1"], path=path, resume=True)


def test_an_existing_place_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    before = recorded(network(), STIMULI, ["first"], path=path)
    with pytest.raises(FileExistsError, match=r"responses\.zarr exists; resume it, overwrite it"):
        recorded(network(), STIMULI, ["first"], path=path)
    xr.testing.assert_identical(open_store(path).load(), before)


def test_a_place_that_holds_something_else_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "photographs"
    path.mkdir()
    (path / "cat.png").write_bytes(b"precious")
    with pytest.raises(FileNotFoundError, match="photographs holds no recorded responses"):
        recorded(network(), STIMULI, ["first"], path=path, resume=True)
    assert [p.name for p in path.iterdir()] == ["cat.png"]


def test_layers_of_other_shapes_are_refused_by_name() -> None:
    model = nn.Sequential(OrderedDict(maps=nn.Conv2d(1, 4, 3), tokens=nn.Flatten(2)))
    with pytest.raises(ValueError, match=r"layer 'tokens' answers with shape \(batch, 4, 660\)"):
        recorded(model, STIMULI, ["maps", "tokens"])


def test_unknown_layers_and_readouts_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    with pytest.raises(KeyError, match=r"no layer 'frist'; did you mean first"):
        recorded(network(), STIMULI, ["frist"], path=path)
    with pytest.raises(ValueError, match=r"readout='median' is none of center, mean, max"):
        recorded(network(), STIMULI, ["first"], readout="median", path=path)
    with pytest.raises(ValueError, match="batch_size=0; "):
        recorded(network(), STIMULI, ["first"], batch_size=0, path=path)
    assert not path.exists()


def test_stimuli_that_the_field_cannot_show_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    path, model = tmp_path / "responses.zarr", network()
    stimuli = sweep(grating, spatial_frequency=[1, 4.5])
    with (
        watched(model) as sizes,
        pytest.raises(ValueError, match=r"spatial_frequency=4\.5 .* Nyquist limit of 4"),
    ):
        recorded(model, stimuli, ["first"], path=path)
    assert sizes == []
    assert not path.exists()


def test_stimuli_of_two_families_are_recorded_in_their_order() -> None:
    model = network()
    gratings = sweep(grating, spatial_frequency=2, orientation=[30, 60], contrast=1, phase=0)
    responses = recorded(model, STIMULI[:3] + gratings + STIMULI[3:5], ["first"], batch_size=4)
    assert responses["family"].values.tolist() == ["gabor"] * 3 + ["grating"] * 2 + ["gabor"] * 2
    without = responses["envelope_sd"].isnull().values
    assert without.tolist() == [False] * 3 + [True] * 2 + [False] * 2
    bound = rounding_of(model, "first")  # in batches of another size
    for rows, stimuli in [(slice(3), STIMULI[:3]), (slice(3, 5), gratings)]:
        expected = recorded(model, stimuli, ["first"])["response"]
        np.testing.assert_allclose(responses["response"][rows], expected, rtol=0, atol=bound)


def test_the_blank_can_be_one_of_the_stimuli() -> None:
    model = network()
    gratings = sweep(grating, spatial_frequency=2, orientation=[30, 60])
    responses = recorded(model, blank() + gratings, ["first"])
    bound = rounding_of(model, "first")
    np.testing.assert_allclose(responses["response"][0], responses["blank"], rtol=0, atol=bound)
    expected = recorded(model, gratings, ["first"])["response"]
    np.testing.assert_allclose(responses["response"][1:], expected, rtol=0, atol=bound)
