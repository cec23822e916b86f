"""Electrodes catch what a layer answered, and leave no trace."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ephys.electrodes import electrodes, find_layers


def chain() -> nn.Sequential:
    """Linear arithmetic with a known answer: x, then 2 x - 3, then its ReLU in place, then + 1."""
    double, plus = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        for layer, weight, bias in [(double, 2.0, -3.0), (plus, 1.0, 1.0)]:
            assert layer.bias is not None
            layer.weight.fill_(weight)
            layer.bias.fill_(bias)
    return nn.Sequential(double, nn.ReLU(inplace=True), plus)


class Failing(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        raise RuntimeError("this module must not be reached")


class Pair(nn.Module):
    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs, inputs


class First(nn.Module):
    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        return inputs[0]


class Skipping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Identity()
        self.unused = nn.Identity()
        self.also_unused = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.used(inputs)


class Twice(nn.Module):
    """Calls one layer two times, and another after that."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.scale.weight, 10.0)
        self.last = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.scale(self.scale(inputs)))


def one(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), float(value))


def hooks(model: nn.Module) -> list[Any]:
    return [
        registered
        for module in model.modules()
        for registered in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
        )
        if registered
    ]


@settings(deadline=None, max_examples=30)
@given(eighths=st.lists(st.integers(-800, 800), min_size=1, max_size=8))
def test_what_was_caught_is_safe_from_a_relu_in_place(eighths: list[int]) -> None:
    values = np.array(eighths) / 8  # exact, also in float32
    images = torch.from_numpy(values).float()[:, None, None, None]
    with electrodes(chain(), ["0", "1", "2"]) as show:
        caught = show(images)
    expected = 2 * values - 3
    assert caught["0"].flatten().tolist() == expected.tolist()
    assert caught["1"].flatten().tolist() == np.maximum(expected, 0).tolist()
    assert caught["2"].flatten().tolist() == (np.maximum(expected, 0) + 1).tolist()


def test_what_was_caught_is_the_callers_own() -> None:
    model = chain()
    with electrodes(model, ["1"]) as show:
        first = show(one(5))
        second = show(one(7))
        first["1"].add_(100)
    assert second["1"].item() == 11
    assert first["1"].item() == 107


def test_the_readout_is_told_the_layer_and_decides_what_is_kept() -> None:
    def readout(layer: str, output: Tensor) -> Tensor:
        return output * (10 if layer == "0" else 1000)

    with electrodes(chain(), ["0", "2"], readout=readout) as show:
        caught = show(one(2))
    assert {layer: values.item() for layer, values in caught.items()} == {"0": 10, "2": 2000}


def test_a_layer_that_answers_twice_is_caught_the_first_time() -> None:
    with electrodes(Twice(), ["scale", "last"]) as show:
        caught = show(one(1))
    assert caught["scale"].item() == 10
    assert caught["last"].item() == 100


def test_the_forward_pass_stops_after_the_last_wanted_layer() -> None:
    model = nn.Sequential(*chain(), Failing())
    with electrodes(model, ["2", "0"]) as show:
        assert show(one(1))["0"].item() == -1
    with (
        electrodes(model, ["0", "3"]) as show,
        pytest.raises(RuntimeError, match="must not be reached"),
    ):
        show(one(1))


def test_a_whole_container_can_be_recorded() -> None:
    model = nn.ModuleDict({"encoder": chain()})
    wrapped = nn.Sequential(model["encoder"], Failing())
    with electrodes(wrapped, ["0", "0.1"]) as show:
        caught = show(one(4))
    assert caught["0.1"].item() == 5
    assert caught["0"].item() == 6


def test_everything_is_as_it_was_after_the_block() -> None:
    model = nn.Sequential(*chain(), nn.BatchNorm2d(1), nn.Dropout(0.5))
    model.train()
    model[3].eval()  # frozen by its owner
    model[1].eval()
    flags = [module.training for module in model.modules()]
    before = {name: values.clone() for name, values in model.state_dict().items()}
    state = torch.get_rng_state()
    with electrodes(model, ["0", "4"]) as show:
        assert not any(module.training for module in model.modules())
        answers = [show(one(3))["4"].item() for _ in range(3)]
        torch.rand(7)
    assert len(set(answers)) == 1  # no dropout, no batch statistics
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert hooks(model) == []
    for name, values in model.state_dict().items():
        assert torch.equal(values, before[name])


@pytest.mark.parametrize("where", ["in the block", "in the model", "in the readout"])
def test_everything_is_as_it_was_after_an_exception(where: str) -> None:
    def fail(*arguments: Any) -> Tensor:
        raise ZeroDivisionError

    def experiment() -> None:
        with electrodes(model, ["0", "2"], readout=readout) as show:
            torch.rand(3)
            show(one(1))
            raise ZeroDivisionError

    model = chain().train()
    model[2].eval()
    readout = fail if where == "in the readout" else lambda _, output: output.clone()
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    if where == "in the model":
        handle = model[1].register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        experiment()
    if where == "in the model":
        handle.remove()
    assert hooks(model) == []
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)


def test_the_hooks_of_others_stay_and_still_run() -> None:
    model, seen = chain(), []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.item()))
    with electrodes(model, ["1"]) as show:
        show(one(4))
    model(one(5))
    assert seen == [5, 7]
    assert len(model[0]._forward_hooks) == 1


def test_the_random_states_of_python_and_numpy_are_not_touched() -> None:
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with electrodes(chain(), ["0"]) as show:
        show(one(1))
    assert random.getstate() == python_state
    for before, after in zip(numpy_state, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(before, after)


def test_recordings_can_be_nested() -> None:
    model = chain().train()
    with electrodes(model, ["0"]) as show_outer:
        with electrodes(model, ["2"]) as show_inner:
            pass
        assert show_outer(one(1))["0"].item() == -1
        with pytest.raises(KeyError, match="does not reach 2"):
            show_inner(one(1))  # its hooks are gone
    assert all(module.training for module in model.modules())


def test_an_unknown_layer_is_refused_with_the_nearest() -> None:
    model = nn.ModuleDict({"encoder": nn.ReLU(), "decoder": nn.ReLU(), "gabor_bank": nn.ReLU()})
    with (
        pytest.raises(KeyError, match=r"no layer 'encodr'; did you mean encoder or decoder\?"),
        electrodes(model, ["encodr"]),
    ):
        pass
    with pytest.raises(KeyError, match=r"no layer 'gabor-bank'; did you mean gabor_bank"):
        find_layers(model, ["gabor-bank"])
    with pytest.raises(KeyError, match=r"no layer 'xyz'; did you mean encoder or decoder or gabor"):
        find_layers(model, ["encoder", "xyz"])


def test_an_unknown_layer_leaves_the_model_alone() -> None:
    model = chain().train()
    with pytest.raises(KeyError), electrodes(model, ["0", "nowhere"]):
        pass
    assert hooks(model) == []
    assert all(module.training for module in model.modules())


def test_layers_that_the_forward_pass_does_not_reach_are_named() -> None:
    with (
        electrodes(Skipping(), ["used", "unused", "also_unused"]) as show,
        pytest.raises(KeyError, match="does not reach unused, also_unused"),
    ):
        show(one(1))


def test_what_an_earlier_input_left_is_not_returned_for_a_later_one() -> None:
    class Fickle(Skipping):
        def forward(self, inputs: Tensor) -> Tensor:
            return self.used(inputs) if inputs.sum() > 0 else self.unused(inputs)

    with electrodes(Fickle(), ["used"]) as show:
        assert show(one(1))["used"].item() == 1
        with pytest.raises(KeyError, match="does not reach used"):
            show(one(-1))


def test_an_output_of_more_than_one_tensor_is_refused_by_name() -> None:
    model = nn.Sequential(Pair(), First(), nn.Identity())
    with (
        electrodes(model, ["0"]) as show,
        pytest.raises(ValueError, match="layer '0' answers with a tuple"),
    ):
        show(one(1))
    assert hooks(model) == []
    with electrodes(model, ["1"]) as show:
        assert show(one(3))["1"].item() == 3


def names(*expected: str) -> nn.Module:
    """A model with layers of these dotted names."""
    model = nn.Module()
    for name in expected:
        parent = model
        for part in name.split("."):
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
    return model


MODEL = names("encoder.bank", "encoder.norm.divisive", "decoder.0", "decoder.10", "decoder.2")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["encoder.*"], ["encoder.bank", "encoder.norm"]),
        (["*"], ["encoder", "decoder"]),
        (["*.*"], ["encoder.bank", "encoder.norm", "decoder.0", "decoder.10", "decoder.2"]),
        (["*.*.*"], ["encoder.norm.divisive"]),
        (["encoder.*.divisive"], ["encoder.norm.divisive"]),
        (["*coder.b*"], ["encoder.bank"]),
        (["decoder.?"], ["decoder.0", "decoder.2"]),
        (["decoder.[12]*"], ["decoder.10", "decoder.2"]),
        (["encoder.norm"], ["encoder.norm"]),
        (["decoder.2", "encoder.bank", "decoder.2"], ["encoder.bank", "decoder.2"]),
        (["decoder.2", "decoder.*"], ["decoder.0", "decoder.10", "decoder.2"]),
    ],
)
def test_a_star_stands_for_a_name_between_two_dots(
    patterns: list[str], expected: list[str]
) -> None:
    assert find_layers(MODEL, patterns) == expected  # once each, in the order of the model


@pytest.mark.parametrize("pattern", ["encoder*", "Encoder", "encoder.*.*.*", "", "decoder"])
def test_a_pattern_is_held_against_whole_names(pattern: str) -> None:
    if pattern in ("encoder*", "decoder"):
        assert find_layers(MODEL, [pattern]) == [pattern.rstrip("*")]
    else:
        with pytest.raises(KeyError, match="no layer"):
            find_layers(MODEL, [pattern])


@settings(deadline=None, max_examples=30)
@given(chosen=st.sets(st.sampled_from([name for name, _ in MODEL.named_modules() if name])))
def test_exact_names_find_themselves_in_the_order_of_the_model(chosen: set[str]) -> None:
    order = [name for name, _ in MODEL.named_modules() if name in chosen]
    assert find_layers(MODEL, sorted(chosen)) == order
