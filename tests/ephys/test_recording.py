"""Recordings of small networks against what is worked out for them by hand."""

import json
import math
import pickle
import random
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from ephys import recording
from ephys.models.input_format import InputFormat
from ephys.recording import NAMED_READOUTS, TRIALS, Near, Readout, record
from ephys.responses import open_store, write
from ephys.stimuli import StimulusSet, blank, gabor, grating, sweep
from ephys.stimuli.marques import marques_grating
from ephys.stimuli.photographs import photograph
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
BATCH = 9  # 32 stimuli are three batches and a rest of five
# Of the network below: where its units are nearest the centre, and the pixel they look at.
# first: pixel 1 + 2 r, nearest to (11.5, 15.5); second: 1 + 4 r.
PLACE = ("row", "column", "rf_x", "rf_y", "rf_width", "rf_height")
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


def seen(layer: str, index: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of rows or columns of ``network``: the pixel in the middle of the field, first and last."""
    middle, reach = {"first": (1 + 2 * index, 2), "second": (1 + 4 * index, 4)}[layer]
    return middle, np.maximum(middle - reach, 0), np.minimum(middle + reach, size - 1)


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
        if len(inputs[0]) > TRIALS:  # and not the blank, say, or the noise for receptive fields
            if len(sizes) >= stop_after:
                raise KeyboardInterrupt
            sizes.append(inputs[0].shape[0])

    handle = model.register_forward_pre_hook(watch)
    try:
        yield sizes
    finally:
        handle.remove()


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_the_central_unit_is_the_network_sliced_at_the_recorded_place(
    layer: str, crop: bool
) -> None:
    model = network()
    responses = recorded(model, STIMULI, [layer], crop=crop)
    (row, column), (pixel_row, pixel_column) = PLACES[layer]
    assert (responses["row"] == row).all()
    assert (responses["column"] == column).all()
    # Degrees of that pixel: multiples of 1/16, exact.
    assert (responses["rf_x"] == FORMAT.field.x[pixel_column]).all()
    assert (responses["rf_y"] == FORMAT.field.y[pixel_row]).all()
    x, y = float(responses["rf_x"][0]), float(responses["rf_y"][0])
    expected = by_hand(model, layer, shown(STIMULI, FORMAT.field, x, y))[:, :, row, column]
    silence = by_hand(model, layer, torch.full((1, 1, 24, 32), 0.5))[0, :, row, column]
    bound = rounding_of(model, layer) if crop else 0.0  # the same sums, of whole images in a batch
    np.testing.assert_allclose(responses["response"], expected, rtol=0, atol=bound)
    np.testing.assert_allclose(responses["blank"], silence, rtol=0, atol=bound)


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
    for name in PLACE:
        assert np.isnan(responses[name]).all()


@pytest.mark.parametrize("readout", NAMED_READOUTS)
def test_features_without_positions_are_recorded_as_they_are(readout: Readout) -> None:
    model = network()
    responses = recorded(model, STIMULI, ["head"], readout=readout)
    expected = by_hand(model, "head", shown(STIMULI, FORMAT.field))
    np.testing.assert_array_equal(responses["response"], expected)
    assert responses["channel"].values.tolist() == [0, 1, 2]
    pooled = readout in ("mean", "max")
    sees = {"rf_x": 0.0, "rf_y": 0.0, "rf_width": 4.0, "rf_height": 3.0}  # the whole image
    sees |= {"row": np.nan, "column": np.nan}
    for name, value in sees.items():
        np.testing.assert_array_equal(responses[name], np.nan if pooled else value)


def test_layers_with_different_centres_are_each_shown_their_own_stimulus() -> None:
    model = network()
    together = recorded(model, STIMULI, ["head", "second", "first"])
    # In the order of the model, and as if each had been recorded alone.
    assert together["layer"].values.tolist() == ["first"] * 4 + ["second"] * 6 + ["head"] * 3
    assert together["channel"].values.tolist() == [*range(4), *range(6), *range(3)]
    for layer in ("first", "second", "head"):
        alone = recorded(model, STIMULI, [layer])
        part = of_layer(together, layer)
        for name in ("response", "blank", *PLACE):
            np.testing.assert_array_equal(part[name], alone[name])


@pytest.mark.parametrize("readout", [*NAMED_READOUTS, [(3, 4)]])
def test_a_relu_in_place_does_not_rectify_what_was_recorded_before_it(readout: Readout) -> None:
    # Both layers look at the same pixel, so that one forward pass goes through both.
    model = randomized(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    )
    together = of_layer(recorded(model, STIMULI, ["0", "2"], readout=readout, crop=False), "0")
    alone = recorded(model, STIMULI, ["0"], readout=readout, crop=False)
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


@settings(deadline=None, max_examples=15)
@given(
    kernel=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 2),
    stride=st.integers(1, 4),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    size=st.tuples(st.integers(20, 28), st.integers(20, 28)),
    contrast=st.floats(0.1, 1),
    crop=st.booleans(),
)
def test_the_stimulus_is_centred_on_the_pixel_in_the_middle_of_what_the_unit_sees(
    kernel: int,
    dilation: int,
    stride: int,
    padding: tuple[int, int, int, int],
    size: tuple[int, int],
    contrast: float,
    crop: bool,
) -> None:
    # A unit that only the pixel in the middle moves: its answer is the luminance there.
    convolution = nn.Conv2d(1, 1, kernel, stride=stride, dilation=dilation, bias=False)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0, kernel // 2, kernel // 2] = 1
    left, right, top, bottom = padding
    model = nn.Sequential(nn.ZeroPad2d(padding), convolution)
    height, width = size
    input_format = InputFormat(1, height, width, pixels_per_degree=8)
    stimuli = sweep(
        gabor, spatial_frequency=1, envelope_sd=0.2, contrast=contrast, orientation=[0, 90]
    )
    responses = recorded(model, stimuli, ["1"], input_format=input_format, crop=crop)

    reach = dilation * (kernel // 2)
    pixels = [
        [
            stride * index - before + reach
            for index in range((side + before + after - 2 * reach - 1) // stride + 1)
        ]
        for side, before, after in [(height, top, bottom), (width, left, right)]
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
    of_units = {"layer", "channel", *PLACE}
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
    assert {responses[name].attrs["units"] for name in PLACE[2:]} == {"degree"}
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


@pytest.mark.parametrize("batches", [0, 1, 3])
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
        ({"readout": [(3, 4)]}, r"readout='center', not '\[\[3, 4\]\]'"),
        ({"batch_size": 7}, "batch_size=64, not 7"),
        ({"input_format": OTHER_FORMAT}, "input_format="),
        ({"centered": False}, "centered=1, not 0"),
        ({"crop": False}, "crops="),
        ({"dtype": "bfloat16"}, "dtype='float32', not 'bfloat16'"),
        ({"channels_last": True}, "channels_last='False', not 'True'"),
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


@pytest.mark.parametrize("of", ["torch", "ephys"])
def test_resuming_with_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    path = tmp_path / "responses.zarr"
    recorded(network(), STIMULI, ["first"], path=path)
    if of == "torch":
        monkeypatch.setattr(torch, "__version__", "0.4.1")
    else:
        monkeypatch.setattr(recording, "version", lambda package: "0.4.1")
    with pytest.raises(ValueError, match=rf"was recorded with {of}='.*', not '0\.4\.1'"):
        recorded(network(), STIMULI, ["first"], path=path, resume=True)


def test_unknown_layers_and_readouts_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "responses.zarr"
    with pytest.raises(KeyError, match=r"no layer 'frist'; did you mean first"):
        recorded(network(), STIMULI, ["frist"], path=path)
    with pytest.raises(ValueError, match=r"readout='median' is none of center, mean, max"):
        recorded(network(), STIMULI, ["first"], readout="median", path=path)
    with pytest.raises(ValueError, match="batch_size=0; "):
        recorded(network(), STIMULI, ["first"], batch_size=0, path=path)
    with pytest.raises(ValueError, match="dtype='float8' is none of float32, bfloat16, float16"):
        recorded(network(), STIMULI, ["first"], dtype="float8", path=path)
    with pytest.raises(ValueError, match="layers='first' is no list of names or patterns"):
        recorded(network(), STIMULI, "first", path=path)
    with pytest.raises(ValueError, match=r"layers=\[\] is no list of names or patterns"):
        recorded(network(), STIMULI, [], path=path)
    with pytest.raises(ValueError, match="the set of stimuli is empty"):
        recorded(network(), STIMULI[:0], ["first"], path=path)
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


# Color, encoded stimuli, and those of a screen of their own.

COLOR = InputFormat(3, 24, 32, pixels_per_degree=8)
COLORED = sweep(
    grating, spatial_frequency=1, color="dkl", azimuth=[0, 90], phase=[0, 90], encoding="srgb"
)


def test_colors_reach_the_channels_of_a_color_model() -> None:
    model = randomized(nn.Sequential(nn.Conv2d(3, 4, 5, padding=2)))
    grey = sweep(grating, spatial_frequency=2, contrast=[0.5, 1], encoding="srgb")
    stimuli = COLORED + grey
    responses = recorded(model, stimuli, ["0"], input_format=COLOR, batch_size=3)
    images = stimuli.render(
        COLOR.field.centered_on(float(responses["rf_x"][0]), float(responses["rf_y"][0]))
    )
    assert images.shape[1] == 3
    row, column = int(responses["row"][0]), int(responses["column"][0])
    with torch.inference_mode():
        expected = model(images)[:, :, row, column]
        silence = model(stimuli.blank.render(COLOR.field, channels=3))[0, :, row, column]
    # 75 products of up to 0.5 and a bias, in an order that the layout in memory may change; a
    # pixel of an encoded image may be off by 4 u.
    bound = (2 * 76 + 4) * 2**-24 * 75 * 0.5
    np.testing.assert_allclose(responses["response"], expected, rtol=0, atol=bound)
    np.testing.assert_allclose(responses["blank"], silence, rtol=0, atol=bound)
    assert np.abs(responses["response"][0] - responses["response"][2]).max() > 100 * bound


def test_a_model_without_color_is_not_shown_any(tmp_path: Path) -> None:
    path, model = tmp_path / "responses.zarr", network()
    with (
        watched(model) as sizes,
        pytest.raises(ValueError, match=r"^Sequential takes one channel and sees no color; show"),
    ):
        recorded(model, STIMULI + COLORED, ["first"], path=path)
    assert sizes == []
    assert not path.exists()


@pytest.mark.parametrize(("takes", "channels"), [(3, 1), (1, 3)])
def test_a_format_of_other_channels_than_the_model_takes_is_refused(
    takes: int, channels: int
) -> None:
    model = nn.Sequential(nn.Conv2d(takes, 2, 3))
    given = InputFormat(channels=channels, height_px=16, width_px=16, pixels_per_degree=4)
    message = f"^input_format has channels={channels}, but the first .* takes {takes}; give"
    with pytest.raises(ValueError, match=message):
        record(model, STIMULI[:2], ["0"], input_format=given)


def test_photographs_are_shown_to_a_model_without_color_by_their_luminance(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    stimuli = sweep(photograph, file=str(tmp_path / "noise.png"), file_row=14, file_column=[18, 20])
    model = network()
    responses = recorded(model, stimuli, ["first"])
    origin = float(responses["rf_x"][0]), float(responses["rf_y"][0])
    images = stimuli.render(FORMAT.field.centered_on(*origin), channels=1)
    (row, column), _ = PLACES["first"]
    expected = by_hand(model, "first", images)[:, :, row, column]
    bound = rounding_of(model, "first")
    np.testing.assert_allclose(responses["response"], expected, rtol=0, atol=bound)


def test_stimuli_of_a_screen_of_their_own_stay_there() -> None:
    model = network()
    theirs = sweep(marques_grating, spatial_frequency=1, radius=0.5, orientation=[0, 45])
    square = replace(FORMAT, width_px=24)
    responses = recorded(model, theirs, ["first"], input_format=square)
    row, column = (int(responses[name][0]) for name in ("row", "column"))
    expected = by_hand(model, "first", theirs.render(square.field))[:, :, row, column]
    bound = rounding_of(model, "first")
    np.testing.assert_allclose(responses["response"], expected, rtol=0, atol=bound)
    assert responses.attrs["centered"] == 0
    assert (responses["rf_x"] != 0).all()  # the units look beside the middle


def test_stimuli_on_several_backgrounds_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "responses.zarr"
    with pytest.raises(
        ValueError, match=r"^stimuli of mean_luminance=0.25 .* no one blank; record"
    ):
        recorded(network(), STIMULI[:2] + blank(0.25), ["first"], path=path)
    assert not path.exists()


def test_words_are_kept_with_the_responses_and_the_set_can_be_had_again(tmp_path: Path) -> None:
    model = randomized(nn.Sequential(nn.Conv2d(3, 4, 5, padding=2)))
    stimuli = COLORED + sweep(gabor, spatial_frequency=1, envelope_sd=1, encoding="srgb", part="b")
    options: dict[str, Any] = {"input_format": COLOR, "path": tmp_path / "responses.zarr"}
    responses = recorded(model, stimuli, ["0"], **options)
    assert responses["color"].values.tolist() == ["dkl"] * 4 + [""]
    assert responses["part"].values.tolist() == [""] * 4 + ["b"]
    np.testing.assert_array_equal(responses["azimuth"], [0, 0, 90, 90, np.nan])
    names = ["family", *stimuli.parameters]
    again = StimulusSet(xr.Dataset({name: responses[name].variable for name in names}))
    assert again.sha256 == stimuli.sha256 == responses.attrs["stimuli_sha256"]
    xr.testing.assert_identical(recorded(model, stimuli, ["0"], resume=True, **options), responses)


def test_the_blank_can_be_one_of_the_stimuli() -> None:
    model = network()
    gratings = sweep(grating, spatial_frequency=2, orientation=[30, 60])
    responses = recorded(model, blank() + gratings, ["first"])
    bound = rounding_of(model, "first")
    np.testing.assert_allclose(responses["response"][0], responses["blank"], rtol=0, atol=bound)
    expected = recorded(model, gratings, ["first"])["response"]
    np.testing.assert_allclose(responses["response"][1:], expected, rtol=0, atol=bound)


# Which units are recorded, and what they answer.


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_map_holds_every_unit_where_it_is(layer: str) -> None:
    model = network()
    responses = recorded(model, STIMULI, [layer], readout="map")
    answer = by_hand(model, layer, shown(STIMULI, FORMAT.field))
    _, channels, rows, columns = answer.shape
    ours = responses["response"].values.reshape(len(STIMULI), rows, columns, channels)
    np.testing.assert_array_equal(ours, answer.movedim(1, -1))  # at the centre of the field
    where = np.indices((rows, columns, channels))
    row, column, channel = where.reshape(3, -1)
    middle_y, top, bottom = seen(layer, row, 24)
    middle_x, left, right = seen(layer, column, 32)
    expected = {
        "row": row,
        "column": column,
        "channel": channel,
        "rf_x": (middle_x - 15.5) / 8,
        "rf_y": (11.5 - middle_y) / 8,
        "rf_width": (right - left + 1) / 8,
        "rf_height": (bottom - top + 1) / 8,
    }
    for name, values in expected.items():  # quotients by 8 are exact
        np.testing.assert_array_equal(responses[name], values)


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_units_at_positions_are_recorded_each_with_its_own_stimulus(
    layer: str, centered: bool, crop: bool
) -> None:
    # In every corner, at every border, and in the middle.
    rows, columns = {"first": ((0, 5, 10), (0, 7, 14)), "second": ((0, 2, 5), (0, 3, 7))}[layer]
    positions = [(row, column) for row in rows for column in columns]
    model = network()
    options = {"readout": positions, "centered": centered, "crop": crop}
    responses = recorded(model, STIMULI, [layer], **options)
    channels = {"first": 4, "second": 6}[layer]
    assert responses["channel"].values.tolist() == [*range(channels)] * 9
    of_units = np.stack([responses["row"], responses["column"]], axis=1)
    np.testing.assert_array_equal(of_units, np.repeat(positions, channels, axis=0))
    bound = rounding_of(model, layer) if crop else 0.0
    for k, (row, column) in enumerate(positions):
        one = responses.isel(unit=slice(channels * k, channels * (k + 1)))
        middle_y, top, bottom = seen(layer, np.array(row), 24)
        middle_x, left, right = seen(layer, np.array(column), 32)
        assert (one["rf_x"] == FORMAT.field.x[0] + middle_x / 8).all()
        assert (one["rf_y"] == FORMAT.field.y[0] - middle_y / 8).all()
        assert (one["rf_width"] == (right - left + 1) / 8).all()
        assert (one["rf_height"] == (bottom - top + 1) / 8).all()
        place = (float(one["rf_x"][0]), float(one["rf_y"][0])) if centered else (0.0, 0.0)
        expected = by_hand(model, layer, shown(STIMULI, FORMAT.field, *place))[:, :, row, column]
        np.testing.assert_allclose(one["response"], expected, rtol=0, atol=bound)


@pytest.mark.parametrize("crop", [True, False])
def test_units_near_a_place_are_those_of_the_map_that_look_there(crop: bool) -> None:
    model, layers, place = network(), ["first", "second"], Near(0.5, -0.25, 0.6)
    everything = {"readout": "map", "centered": False}
    whole = recorded(model, STIMULI, layers, **everything)
    near = np.hypot(whole["rf_x"] - place.x, whole["rf_y"] - place.y) <= place.within
    expected = whole.isel(unit=np.flatnonzero(near))
    assert [of_layer(expected, layer).sizes["unit"] for layer in layers] == [4 * 19, 6 * 5]
    found = recorded(model, STIMULI, layers, readout=place, crop=crop)
    for name in ("layer", "channel", *PLACE):
        np.testing.assert_array_equal(found[name], expected[name])
    for layer in layers:
        bound = rounding_of(model, layer)
        for name in ("response", "blank"):
            ours, theirs = of_layer(found, layer)[name], of_layer(expected, layer)[name]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
    assert [bool(one) for one in crops_of(found)] == [crop]  # a pass for all of them
    assert found.attrs["readout"] == "within 0.6 degrees of (0.5, -0.25)"


@pytest.mark.parametrize(
    ("layers", "place", "message"),
    [
        (["first"], Near(1, -1, 0.01), r"layer 'first' looks within 0\.01 degrees of \(1, -1\)"),
        (["second"], Near(9, 0, 1), r"layer 'second' looks .*; the nearest is 7\.31 degrees from"),
        (["head"], Near(3, 4, 1), r"layer 'head' looks .*; the nearest is 5 degrees from there"),
        (["first"], Near(0, 0, 0), r"Near\(x=0, y=0, within=0\) is no place, or not within more"),
        (["first"], Near(math.nan, 0, 1), r"Near\(x=nan, .* is no place"),
    ],
)
def test_a_place_at_which_nothing_looks_is_refused(
    layers: list[str], place: Near, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recorded(network(), STIMULI, layers, readout=place)


def test_positions_can_be_an_array() -> None:
    model = network()
    responses = recorded(model, STIMULI, ["first"], readout=np.array([(3, 4), (5, 7)]))
    expected = recorded(model, STIMULI, ["first"], readout=[(3, 4), (5, 7)])
    xr.testing.assert_identical(responses, expected)
    assert json.loads(responses.attrs["readout"]) == [[3, 4], [5, 7]]


@pytest.mark.parametrize(
    ("layers", "positions", "message"),
    [
        (["first"], [(11, 0)], r"readout=\(11, 0\): layer 'first' has 11 rows and 15 columns"),
        (["first"], [(0, 0), (0, 15)], r"readout=\(0, 15\): layer 'first' has 11 rows"),
        (["first", "second"], [(6, 0)], r"readout=\(6, 0\): layer 'second' has 6 rows and 8 col"),
        (["first"], [(-1, 0)], r"readout=\(-1, 0\): layer 'first' has .* counted from 0"),
        (["first"], [(1.5, 0)], r"readout=\(1.5, 0.0\): layer 'first' has"),
        (["head"], [(0, 0)], r"readout=\(0, 0\): layer 'head' has no positions"),
        (["first"], (3, 4), r"readout=\(3, 4\) is no list of positions \(row, column\)"),
        (["first"], [(3, 4, 5)], r"is no list of positions"),
        (["first"], [], r"readout=\[\] is no list of positions"),
        (["first"], [(3, 4), (5, 7), (3, 4)], r"names a position twice"),
    ],
)
def test_positions_that_a_layer_does_not_have_are_refused(
    layers: list[str], positions: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recorded(network(), STIMULI, layers, readout=positions)


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_stimuli_can_stay_at_the_centre_of_the_field(layer: str, crop: bool) -> None:
    model = network()
    responses = recorded(model, STIMULI, [layer], centered=False, crop=crop)
    (row, column), (pixel_row, pixel_column) = PLACES[layer]
    expected = by_hand(model, layer, shown(STIMULI, FORMAT.field))[:, :, row, column]
    bound = rounding_of(model, layer) if crop else 0.0
    np.testing.assert_allclose(responses["response"], expected, rtol=0, atol=bound)
    # The unit still looks where it looks.
    assert (responses["rf_x"] == FORMAT.field.x[pixel_column]).all()
    assert (responses["rf_y"] == FORMAT.field.y[pixel_row]).all()
    at_the_unit = recorded(model, STIMULI, [layer], crop=crop)
    assert np.abs(at_the_unit["response"] - responses["response"]).max() > 0.01


# Layers of many kinds.


class Reusing(nn.Module):
    """Calls its ReLU twice, and its convolution too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.convolution(self.relu(self.convolution(images))))


@pytest.mark.parametrize("readout", NAMED_READOUTS)
def test_a_layer_that_is_called_again_is_recorded_at_every_call(readout: Readout) -> None:
    model = randomized(Reusing())
    options = {"readout": readout, "centered": False, "crop": False}
    responses = recorded(model, STIMULI, ["relu", "convolution"], **options)
    with torch.inference_mode():
        once = model.convolution(shown(STIMULI, FORMAT.field))
        twice = model.convolution(once.clamp(min=0))
    calls = {
        "convolution#1": once,
        "relu#1": once.clamp(min=0),
        "convolution#2": twice,
        "relu#2": twice.clamp(min=0),
    }
    assert list(dict.fromkeys(responses["layer"].values)) == list(calls)
    pools: dict[Any, Callable[[Tensor], Tensor]] = {
        "center": lambda maps: maps[:, :, 11, 15],
        "mean": lambda maps: maps.flatten(2).mean(-1),
        "max": lambda maps: maps.flatten(2).amax(-1),
        "map": lambda maps: maps.flatten(1),
    }
    for layer, answer in calls.items():
        ours = of_layer(responses, layer)["response"]
        np.testing.assert_array_equal(ours, pools[readout](answer))
    # A call that is named is recorded alone, and the network is run no further.
    only = recorded(model, STIMULI, ["convolution#2"], **options)
    assert set(only["layer"].values) == {"convolution#2"}
    np.testing.assert_array_equal(only["response"], pools[readout](twice))


class Splitting(nn.Module):
    """Of maps: maps by name, tokens by name, and numbers that no unit is read from."""

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        return {"maps": maps, "tokens": maps.flatten(2).transpose(1, 2), "total": maps.sum()}


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 4, 8, stride=8)  # 3 x 4 tokens
        self.split = Splitting()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.windows = nn.Flatten(0, 1)
        self.total = nn.Identity()
        self.unused = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        parts = self.split(self.embed(images))
        tokens = parts["tokens"]
        attended = self.attention(tokens, tokens, tokens)[0]
        self.windows(attended)
        return self.total(attended.sum())


def test_members_of_what_a_layer_answers_are_recorded_by_name() -> None:
    model = randomized(Branching()).eval()
    layers = ["split/tokens", "split/maps", "attention/0"]
    responses = recorded(model, STIMULI, layers, readout="map", crop=False)
    with torch.inference_mode():
        maps = model.embed(shown(STIMULI, FORMAT.field))
        tokens = maps.flatten(2).transpose(1, 2)
        attended = model.attention(tokens, tokens, tokens)[0]
    for layer, answer in zip(layers, [tokens, maps.movedim(1, -1), attended], strict=True):
        one = of_layer(responses, layer)
        np.testing.assert_array_equal(one["response"], answer.flatten(1))
        # Tokens stand where their patch is.
        row, column = np.repeat(np.indices((3, 4)).reshape(2, -1), 4, axis=1)
        np.testing.assert_array_equal(one["row"], row)
        np.testing.assert_array_equal(one["column"], column)
        np.testing.assert_array_equal(one["rf_x"], (8 * column + 3.5 - 15.5) / 8)
        np.testing.assert_array_equal(one["rf_y"], (11.5 - 8 * row - 3.5) / 8)
        sees = (4.0, 3.0) if layer == "attention/0" else (1.0, 1.0)
        assert (one["rf_width"] == sees[0]).all()
        assert (one["rf_height"] == sees[1]).all()


@pytest.mark.parametrize("readout", ["center", [(1, 2)]])
def test_a_token_is_recorded_where_its_patch_is(readout: Readout) -> None:
    model = randomized(Branching())
    responses = recorded(model, STIMULI, ["split/tokens", "embed"], readout=readout)
    as_token, as_map = (of_layer(responses, layer) for layer in ("split/tokens", "embed"))
    for name in ("response", "blank", *PLACE):
        np.testing.assert_array_equal(as_token[name], as_map[name])
    place = (1, 1) if readout == "center" else (1, 2)
    assert {(int(r), int(c)) for r, c in zip(as_token["row"], as_token["column"], strict=True)} == {
        place
    }


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("split", ValueError, r"'split' answers with a dict of 3 tensors; name one: split/maps"),
        ("split/mops", ValueError, r"'mops' is none of maps, tokens, total"),
        ("split/total", ValueError, r"layer 'split/total' answers with shape \(\) to 2 images"),
        ("attention", ValueError, r"'attention' answers with a tuple of 2 tensors"),
        ("windows", ValueError, r"layer 'windows' answers with shape \(24, 4\) to 2 images"),
        ("unused", KeyError, r"does not reach layer 'unused'"),
        ("embed#2", KeyError, r"does not reach layer 'embed#2'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name_and_left_out_of_a_pattern(
    layer: str, error: type[Exception], message: str
) -> None:
    model = randomized(Branching())
    with pytest.raises(error, match=message):
        recorded(model, STIMULI, ["embed", layer])
    with pytest.raises(error, match=message):
        recorded(model, STIMULI, ["*", layer])
    fitted = recorded(model, STIMULI, ["*"])
    assert set(fitted["layer"].values) == {"embed"}


def test_a_pattern_that_fits_only_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="layer 'split' answers with a dict of 3 tensors"):
        recorded(randomized(Branching()), STIMULI, ["spl*"])
    with pytest.raises(KeyError, match="does not reach layer 'unused'"):
        recorded(randomized(Branching()), STIMULI, ["re:un.*"])


def test_a_repeated_layer_that_cannot_be_read_is_refused_by_name() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split, self.first = Splitting(), nn.Conv2d(1, 1, 3)

        def forward(self, images: Tensor) -> None:
            self.split(self.split(self.first(images))["maps"])

    with pytest.raises(ValueError, match="layer 'split' answers with a dict"):
        recorded(Twice(), STIMULI, ["first", "split"])
    both = recorded(Twice(), STIMULI, ["split/maps"])
    assert set(both["layer"].values) == {"split#1/maps", "split#2/maps"}


def test_layers_are_named_by_expression_type_or_all() -> None:
    model = network()
    for pattern, expected in {
        "re:.*": ["first", "relu", "second", "flat", "head"],
        "type:Conv2d": ["first", "second"],
        "all": ["first", "relu", "second", "flat", "head"],
    }.items():
        responses = recorded(model, STIMULI[:2], [pattern], readout="mean")
        assert list(dict.fromkeys(responses["layer"].values)) == expected
    with pytest.raises(KeyError, match=r"no layer of type 'conv2d'; did you mean Conv2d"):
        recorded(model, STIMULI, ["type:conv2d"])


# Crops.


def crops_of(responses: xr.Dataset) -> list[list[int]]:
    return json.loads(responses.attrs["crops"])


@pytest.mark.parametrize("readout", ["center", [(0, 0), (2, 7)], "mean", "max", "map"])
@pytest.mark.parametrize("centered", [True, False])
def test_cropping_changes_nothing_but_rounding(readout: Readout, centered: bool) -> None:
    model = network()
    options = {"readout": readout, "centered": centered}
    layers = ["first", "second"] if readout != "map" else ["second"]
    cropped = recorded(model, STIMULI, layers, **options)
    whole = recorded(model, STIMULI, layers, **options, crop=False)
    assert not any(crops_of(whole))
    assert all(crops_of(cropped)) == (readout not in ("mean", "max", "map"))
    for layer in layers:
        ours, theirs = (of_layer(responses, layer) for responses in (cropped, whole))
        for name in ("response", "blank"):
            bound = rounding_of(model, layer)
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=bound)
        for name in ("channel", *PLACE):
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_layers_that_look_at_one_place_share_the_pass_of_the_deepest() -> None:
    model = randomized(nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)]))
    responses = recorded(model, STIMULI, ["0", "1", "2"], batch_size=32)
    # The deepest sees 7 x 7 pixels around (11, 15), the place that is nearest the middle.
    assert crops_of(responses) == [[8, 15, 12, 19]]
    with watched(model[0]) as sizes:
        recorded(model, STIMULI, ["0", "1", "2"], batch_size=32)
    assert sizes == [32]


def test_layers_that_look_elsewhere_have_passes_and_crops_of_their_own() -> None:
    model, alone = network(), []
    for layer, reach in {"first": 2, "second": 4}.items():
        row, column = PLACES[layer][1]
        (crop,) = crops_of(recorded(model, STIMULI, [layer]))
        top, bottom, left, right = crop
        assert top <= row - reach < row + reach < bottom
        assert left <= column - reach < column + reach < right
        assert max(bottom - top, right - left) <= 2 * reach + 1 + 4  # and a stride's alignment
        alone.append(crop)
    assert crops_of(recorded(model, STIMULI, ["first", "second"])) == alone
    # The third sees the whole image, and is shown the stimuli in its middle.
    with watched(model) as sizes:
        together = recorded(model, STIMULI, ["first", "second", "head"])
    assert crops_of(together) == [*alone, []]
    assert sizes == [32, 32, 32]


def test_a_layer_that_sees_more_than_the_deepest_has_a_pass_of_its_own() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(1, 1, 9, padding=4)
            self.narrow = nn.Conv2d(1, 1, 3, padding=1)
            self.point = nn.Conv2d(1, 1, 1)
            self.last = nn.Conv2d(1, 1, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(self.point(images) + self.narrow(images)) + self.wide(images)

    class WideFirst(Branches):
        def forward(self, images: Tensor) -> Tensor:
            return self.wide(images) + self.last(self.point(images) + self.narrow(images))

    around = {"wide": [7, 16, 11, 20], "others": [10, 13, 14, 17]}  # all of (11, 15)
    model = randomized(WideFirst())
    with watched(model.last) as sizes:
        responses = recorded(model, STIMULI, ["type:Conv2d"])
    assert crops_of(responses) == [around["others"], around["wide"]]
    assert sizes == [32]  # what is looked for first is not run to the last again
    # Where the one that sees most answers last, all go with it.
    model = randomized(Branches())
    assert crops_of(recorded(model, STIMULI, ["type:Conv2d"])) == [around["wide"]]


class PerWidth(nn.Module):
    """Right in what it sees, and of another value in an image of another size."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps / maps.shape[-1]


def test_a_crop_that_is_answered_otherwise_is_given_up() -> None:
    model = randomized(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3, stride=2), PerWidth()))
    expected = recorded(model, STIMULI, ["0", "2"], crop=False)
    with pytest.warns(
        UserWarning, match=r"^2: a crop is answered otherwise than the whole image \(by .* of the"
    ):
        responses = recorded(model, STIMULI, ["0", "2"])
    first, second = crops_of(responses)
    assert first != []  # the other pass keeps its own
    assert second == []
    for layer, bound in {"0": 2**-19, "2": 0.0}.items():
        ours, theirs = (of_layer(r, layer) for r in (responses, expected))
        for name in ("response", "blank", *PLACE):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=bound)


def test_a_network_for_images_of_one_size_is_shown_whole_ones() -> None:
    class OneSize(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[2:] != (24, 32):
                raise ValueError("this takes images of 24 x 32 pixels")
            return images

    model = randomized(nn.Sequential(OneSize(), nn.Conv2d(1, 4, 3)))
    responses = recorded(model, STIMULI, ["1"])
    assert crops_of(responses) == [[]]
    xr.testing.assert_identical(responses, recorded(model, STIMULI, ["1"], crop=False))


def test_a_network_may_write_to_the_images_it_is_shown() -> None:
    class Standardizing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mul_(4).sub_(2)

    color = InputFormat(3, 24, 32, pixels_per_degree=8)  # grey stimuli, in all three channels
    model = randomized(nn.Sequential(Standardizing(), nn.Conv2d(3, 2, 3)))
    responses = recorded(model, STIMULI, ["1"], input_format=color, crop=False)
    with torch.inference_mode():
        x, y = float(responses["rf_x"][0]), float(responses["rf_y"][0])
        images = shown(STIMULI, color.field, x, y).expand(-1, 3, -1, -1) * 4 - 2
        row, column = int(responses["row"][0]), int(responses["column"][0])
        expected = model[1](images)[:, :, row, column]
    np.testing.assert_array_equal(responses["response"], expected)
    assert "not_a_function_of_the_stimulus" not in responses.attrs


# No trace.

HOOKS = [name for name in vars(nn.Module()) if name.endswith("hooks")]


def everything(model: nn.Module) -> dict[str, Any]:
    """All that a recording could leave behind, as values that can be compared."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    states = [torch.get_rng_state().numpy(), random.getstate(), np.random.get_state()]  # noqa: NPY002
    return {
        "hooks": {
            name: [list(getattr(module, kind)) for kind in HOOKS]
            for name, module in model.named_modules()
        },
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "values": {name: tensor.tolist() for name, tensor in tensors},
        "memory": {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in tensors},
        "kinds": {
            name: (tensor.dtype, tensor.device, tensor.is_inference()) for name, tensor in tensors
        },
        "gradients": {
            name: (tensor.requires_grad, None if tensor.grad is None else tensor.grad.tolist())
            for name, tensor in tensors
        },
        "random": [pickle.dumps(state) for state in states],
        "settings": [
            torch.backends.mha.get_fastpath_enabled(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
        ],
    }


class Troubled(nn.Module):
    """Fails with too many stimuli at a time, or when it was called too often."""

    most = often = math.inf
    calls = 0
    error: BaseException = ZeroDivisionError()

    def forward(self, maps: Tensor) -> Tensor:
        self.calls += 1
        if len(maps) > self.most or self.calls > self.often:
            raise self.error
        return maps


def trainee() -> Any:
    """Half in training, with gradients, statistics and a frozen part."""
    model: Any = nn.Sequential(
        OrderedDict(
            first=nn.Conv2d(1, 4, 3),
            norm=nn.BatchNorm2d(4),
            relu=nn.ReLU(inplace=True),
            dropout=nn.Dropout(0.5),
            troubled=Troubled(),
            second=nn.Conv2d(4, 2, 3, stride=2),
            squash=nn.Tanh(),
        )
    )
    randomized(model).train()
    model.norm.running_mean.fill_(0.25)
    model.norm.running_var.fill_(4)
    model.squash.eval()
    model.norm.eval()
    model(torch.rand(4, 1, 24, 32, generator=torch.Generator().manual_seed(2))).sum().backward()
    model.first.bias.requires_grad_(False)
    model.second.weight.grad = None
    model.second.register_forward_hook(lambda module, inputs, output: None)  # somebody else's
    model.troubled.calls, model.troubled.often = 0, math.inf
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"readout": "mean"},
        {"crop": False},
        {"dtype": "bfloat16"},
        {"dtype": "float16", "channels_last": True},
        {"readout": [(0, 0), (3, 3)], "batch_size": None},
    ],
)
def test_a_recording_leaves_no_trace(options: dict[str, Any]) -> None:
    model = trainee()
    before = everything(model)
    recorded(model, STIMULI, ["first", "relu", "second"], **options)
    assert everything(model) == before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_recording_that_fails_in_the_model_leaves_no_trace(error: type[BaseException]) -> None:
    model = trainee()
    model.troubled.error = error()
    recorded(model, STIMULI, ["first", "second"])
    calls = model.troubled.calls
    assert calls > 5
    before, failed = everything(model), []
    for often in range(calls):  # in the survey, in that of a crop, in the trial, in a batch
        model.troubled.often, model.troubled.calls = often, 0
        try:
            recorded(model, STIMULI, ["first", "second"])
        except error:
            failed.append(often)
        assert everything(model) == before
    # A crop that fails is one that the model does not take.
    assert {0, calls - 1} < set(failed)
    assert len(failed) > calls / 2


@pytest.mark.parametrize("most", [0, TRIALS])  # in the trial, in a batch
def test_a_recording_that_fails_in_the_readout_leaves_no_trace(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(sites: Tensor) -> Tensor:
        if len(sites) > most:
            raise ZeroDivisionError
        return sites.mean(-1)

    model = trainee()
    before = everything(model)
    monkeypatch.setitem(recording.POOLS, "mean", fail)
    with pytest.raises(ZeroDivisionError):
        recorded(model, STIMULI, ["first", "second"], readout="mean")
    assert everything(model) == before


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_what_is_recorded_does_not_depend_on_how_gradients_are_kept(around: Any) -> None:
    expected = recorded(network(), STIMULI, ["first", "relu", "second"])
    model = network()
    with around():
        responses = recorded(model, STIMULI, ["first", "relu", "second"])
    xr.testing.assert_identical(responses, expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_a_model_keeps_for_itself_can_still_be_trained() -> None:
    class Keeping(nn.Module):
        """Makes a tensor anew when images come in another size."""

        gain, width = torch.ones(1), 0

        def forward(self, maps: Tensor) -> Tensor:
            if self.width != maps.shape[-1]:
                self.gain, self.width = torch.full((4, 1, 1), 1.5), maps.shape[-1]
            return maps * self.gain

    model: Any = nn.Sequential(nn.Conv2d(1, 4, 3), Keeping(), nn.Conv2d(4, 2, 3))
    recorded(model, STIMULI, ["0", "1", "2"])
    kept = model[1].gain
    assert model[1].width < 30  # that of a crop
    model(torch.rand(2, 1, 24, 2 + model[1].width)).sum().backward()
    assert model[1].gain is kept  # and it was not made for inference only


# Models that answer more than the stimulus.


class Noisy(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps + torch.randn_like(maps)


class AlwaysDropping(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.dropout(maps, 0.5, training=True)


class AgainstTheOthers(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps - maps.mean(0)


AGAIN = "differ from one showing to the next"
OTHERS = "depend on the other stimuli that are shown with them"


@pytest.mark.parametrize(
    ("module", "how"),
    [
        (Noisy(), AGAIN),
        (AlwaysDropping(), AGAIN),
        (nn.BatchNorm2d(4, track_running_stats=False), OTHERS),
        (AgainstTheOthers(), OTHERS),
    ],
)
def test_answers_that_are_no_function_of_the_stimulus_are_reported(
    module: nn.Module, how: str
) -> None:
    model = randomized(nn.Sequential(nn.Conv2d(1, 4, 3), module, nn.ReLU(), nn.Conv2d(4, 2, 3)))
    with pytest.warns(UserWarning, match=rf"^answers of 1, 2, 3 {how}$"):
        responses = recorded(model, STIMULI, ["0", "1", "2", "3"], crop=False)
    assert responses.attrs["not_a_function_of_the_stimulus"] == "1, 2, 3"
    before = recorded(model, STIMULI, ["0"])
    assert "not_a_function_of_the_stimulus" not in before.attrs


@pytest.mark.parametrize("readout", ["center", "mean"])
@pytest.mark.parametrize(
    "module",
    [
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Dropout2d(0.5),
        nn.AlphaDropout(0.5),
        nn.RReLU(),
        nn.InstanceNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.LayerNorm([22, 30]),
    ],
)
def test_what_is_still_in_evaluation_is_not_reported(module: nn.Module, readout: Readout) -> None:
    model = randomized(nn.Sequential(nn.Conv2d(1, 4, 3), module)).train()
    responses = recorded(model, STIMULI, ["0", "1"], readout=readout, batch_size=5)
    assert "not_a_function_of_the_stimulus" not in responses.attrs
    assert module.training


# Batches and memory.


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    RuntimeError("[enforce fail] . DefaultCPUAllocator: not enough memory"),
]


def cramped() -> Any:
    """The network of above, with trouble between its layers."""
    model = network()
    layers = OrderedDict(model.named_children())
    parts = [(name, layers[name]) for name in ("first", "relu")]
    return nn.Sequential(
        OrderedDict([*parts, ("troubled", Troubled()), ("second", layers["second"])])
    )


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize("batch_size", [32, None])
def test_where_memory_runs_out_fewer_are_shown_and_none_twice(
    error: Exception, batch_size: int | None
) -> None:
    model = cramped()
    expected = recorded(model, STIMULI, ["first", "second"], batch_size=4)
    model.troubled.most, model.troubled.error = 5, error
    with watched(model.second) as sizes:
        responses = recorded(model, STIMULI, ["first", "second"], batch_size=batch_size)
    assert sizes == [4] * 8  # 32 and 16 and 8 were too many
    for name in ("response", "blank"):
        np.testing.assert_array_equal(responses[name], expected[name])


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    model = cramped()
    model.troubled.most, model.troubled.error = 5, RuntimeError("shapes do not match")
    with watched(model.first) as sizes, pytest.raises(RuntimeError, match="shapes do not match"):
        recorded(model, STIMULI, ["second"], batch_size=32)
    assert sizes == [32]


@pytest.mark.parametrize(("most", "shown_at_once"), [(0, 2), (2, 3)])
def test_no_memory_to_begin_with_is_said_with_the_layers(
    most: int, shown_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "TRIALS", 3)
    model = cramped()
    model.troubled.most, model.troubled.error = most, OUT_OF_MEMORY[0]
    message = rf"^no memory on cpu for stimuli of 24 x 32 pixels at second, {shown_at_once} at a"
    with pytest.raises(MemoryError, match=message) as raised:
        recorded(model, STIMULI, ["second"])
    assert raised.value.__cause__ is OUT_OF_MEMORY[0]


def test_no_memory_for_a_single_stimulus_is_said_and_what_was_recorded_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(*arguments: Any) -> None:
        write(*arguments)
        model.troubled.most = 0

    model, path = cramped(), tmp_path / "responses.zarr"
    model.troubled.error = OUT_OF_MEMORY[0]
    options: dict[str, Any] = {"batch_size": BATCH, "path": path}
    monkeypatch.setattr("ephys.recording.write", fill_up)
    message = r"^no memory on cpu for stimuli of 24 x 32 pixels at second, 1 at a time; record few"
    with pytest.raises(MemoryError, match=message):
        recorded(model, STIMULI, ["second"], **options)
    monkeypatch.setattr("ephys.recording.write", write)
    model.troubled.most = math.inf
    with watched(model) as sizes:
        resumed = recorded(model, STIMULI, ["second"], **options, resume=True)
    assert sizes == [9, 9, 5]  # the first nine were there
    xr.testing.assert_identical(resumed, recorded(model, STIMULI, ["second"], batch_size=BATCH))


def test_batches_that_were_chosen_for_the_memory_are_kept_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "responses.zarr", network()
    options: dict[str, Any] = {"batch_size": None, "crop": False}
    monkeypatch.setattr(recording, "MOST_AT_ONCE", 16)
    # The largest operation is the first: an image, and maps of 4 x 11 x 15, in float32.
    largest = 4 * (24 * 32 + 4 * 11 * 15)
    monkeypatch.setattr(recording, "CPU_BYTES", 5 * largest + largest // 2)
    with watched(model, stop_after=3) as sizes, pytest.raises(KeyboardInterrupt):
        recorded(model, STIMULI, ["first"], **options, path=path)
    assert sizes == [5, 5, 5]  # and one, which is not counted
    assert json.loads(open_store(path).attrs["batches"]) == [5]
    whole = recorded(model, STIMULI, ["first"], **options)
    monkeypatch.setattr(recording, "CPU_BYTES", 100 * largest)  # there is more now
    with watched(model) as sizes:
        resumed = recorded(model, STIMULI, ["first"], **options, path=path, resume=True)
    assert sizes == [5, 5, 5]
    xr.testing.assert_identical(resumed, whole)


# Faster ways to run a model.


def hurried(dtype: str) -> tuple[Any, xr.Dataset, xr.Dataset]:
    model = network()
    exact = recorded(model, STIMULI, ["first"])
    return model, exact, recorded(model, STIMULI, ["first"], dtype=dtype)


@pytest.mark.parametrize(("dtype", "digits"), [("bfloat16", 8), ("float16", 11)])
def test_fewer_digits_change_the_answers_by_as_much_as_they_round(dtype: str, digits: int) -> None:
    model, exact, rough = hurried(dtype)
    # Weights, pixels and sums are each rounded once, and the sums are made in float32.
    unit = 2.0**-digits
    reach = model.first.weight.abs().sum((1, 2, 3)).max().item() + 0.5
    bound = 3.01 * unit * reach
    off = np.abs(rough["response"].values - exact["response"].values)
    assert off.max() <= bound
    tried = np.unique(np.linspace(0, 31, TRIALS).astype(int))
    largest = np.abs(exact["response"].values[tried]).max()
    assert rough.attrs["error"] == pytest.approx(off[tried].max() / largest, rel=1e-3)
    assert rough.attrs["dtype"] == dtype
    assert "error" not in exact.attrs
    if dtype == "bfloat16":
        assert 1e-4 < rough.attrs["error"] < 5e-2


def test_channels_last_change_nothing_but_rounding() -> None:
    color = InputFormat(3, 24, 32, pixels_per_degree=8)
    model = randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)))
    exact, other = (
        recorded(model, STIMULI, ["0", "1"], input_format=color, channels_last=last)
        for last in (False, True)
    )
    # A sum of 27 and one of 36 products, each in two orders.
    first, second = (layer.weight.abs().sum((1, 2, 3)).max().item() + 0.5 for layer in model)
    unit = 2.0**-24
    bounds = {"0": 2 * 28 * unit * first, "1": 2 * (28 + 37) * unit * first * second}
    for layer, bound in bounds.items():
        ours, theirs = (of_layer(responses, layer) for responses in (other, exact))
        np.testing.assert_allclose(ours["response"], theirs["response"], rtol=0, atol=bound)
    assert 0 <= other.attrs["error"] < 1e-5
    assert "error" not in exact.attrs


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_come_in_the_memory_format_that_is_asked_for(channels_last: bool) -> None:
    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    model, formats = randomized(nn.Sequential(nn.Conv2d(3, 4, 3))), list[bool]()
    model.register_forward_pre_hook(look)
    color = InputFormat(3, 24, 32, pixels_per_degree=8)
    recorded(model, STIMULI, ["0"], input_format=color, channels_last=channels_last, batch_size=32)
    assert formats[-1] == channels_last


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_model_answers_the_same_but_for_rounding() -> None:
    model = network()
    layers = ["first", "second"]  # at places of their own: two passes, with hooks each
    before, some = everything(model), STIMULI[:: len(STIMULI) // 4]
    ours = recorded(model, some, layers, batch_size=TRIALS, compiled=True)
    assert everything(model) == before
    exact = recorded(model, some, layers, batch_size=TRIALS)
    for layer in layers:
        bound = rounding_of(model, layer)
        for name in ("response", "blank"):
            a, b = (of_layer(responses, layer)[name] for responses in (ours, exact))
            np.testing.assert_allclose(a, b, rtol=0, atol=bound)
    assert 0 <= ours.attrs["error"] < 1e-5
    assert ours.attrs["compiled"] == "True"
