"""Electrodes catch what a layer answered, and leave no trace."""

import pickle
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ephys.electrodes import electrodes, find_layers, is_exact, listening


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


def test_a_layer_that_answers_twice_is_caught_the_first_time_or_at_the_call_that_is_named() -> None:
    layers = ["last", "scale", "scale#2", "scale#1"]
    with electrodes(Twice(), layers) as show:
        for value in (1, 3):  # calls are counted anew for each input
            caught = {layer: answer.item() for layer, answer in show(one(value)).items()}
            assert caught == {
                "scale": 10 * value,
                "scale#1": 10 * value,
                "scale#2": 100 * value,
                "last": 100 * value,
            }


def test_a_call_that_does_not_come_is_named() -> None:
    with (
        electrodes(Twice(), ["scale#2", "scale#3"]) as show,
        pytest.raises(KeyError, match="does not reach scale#3"),
    ):
        show(one(1))


@pytest.mark.parametrize("label", ["scale#0", "scale#two", "scale#", "scale#-1", "scale#1.5"])
def test_calls_are_counted_from_one(label: str) -> None:
    message = f"layer '{label}': calls are counted from 1, as in scale#1"
    with pytest.raises(KeyError, match=message), electrodes(Twice(), [label]):
        pass
    with pytest.raises(KeyError, match=message):
        find_layers(Twice(), [label])


def test_the_forward_pass_stops_after_the_last_wanted_layer() -> None:
    model = nn.Sequential(*chain(), Failing())
    with electrodes(model, ["2", "0"]) as show:
        assert show(one(1))["0"].item() == -1
    with (
        electrodes(model, ["0", "3"]) as show,
        pytest.raises(RuntimeError, match="must not be reached"),
    ):
        show(one(1))


def test_the_forward_pass_stops_after_the_last_wanted_call() -> None:
    class ThenFailing(Twice):
        def forward(self, inputs: Tensor) -> Tensor:
            once = self.scale(inputs)
            if once.sum() > 0:
                raise RuntimeError("this module must not be reached")
            return self.scale(once)

    with electrodes(ThenFailing(), ["scale", "scale"]) as show:  # a name twice is that name
        assert show(one(1))["scale"].item() == 10
    with (
        electrodes(ThenFailing(), ["scale#2"]) as show,
        pytest.raises(RuntimeError, match="must not be reached"),
    ):
        show(one(1))


def test_the_model_is_run_as_is_asked_for() -> None:
    model = chain()
    with electrodes(model, ["0", "2"], forward=lambda inputs: model(inputs + 1)) as show:
        assert {layer: answer.item() for layer, answer in show(one(2)).items()} == {"0": 3, "2": 4}


@pytest.mark.parametrize("enough", [1, 2, 3, 4])
def test_every_call_is_heard_of_until_enough_was_heard(enough: int) -> None:
    heard: list[tuple[str, int, float]] = []

    def hear(name: str, call: int, output: Tensor) -> bool:
        heard.append((name, call, output.item()))
        return len(heard) == enough

    with listening(Twice(), ["last", "scale"], hear) as run:
        run(one(1))
    assert heard == [("scale", 1, 10), ("scale", 2, 100), ("last", 1, 100)][:enough]


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


class Dicing(nn.Module):
    """Draws from every source of randomness there is."""

    def forward(self, inputs: Tensor) -> Tensor:
        drawn = torch.rand(()).item() + random.random() + np.random.rand()  # noqa: NPY002
        return inputs + drawn


def random_states() -> list[bytes]:
    states = [torch.get_rng_state().numpy(), random.getstate(), np.random.get_state()]  # noqa: NPY002
    return [pickle.dumps(state) for state in states]


@pytest.mark.parametrize("then", [nn.Identity, Failing])
def test_all_random_states_are_as_they_were(then: type[nn.Module]) -> None:
    before = random_states()
    with (
        suppress(RuntimeError),
        electrodes(nn.Sequential(Dicing(), then()), ["0", "1"]) as show,
    ):
        show(one(1))
    assert random_states() == before
    Dicing()(one(1))
    assert all(now != then for now, then in zip(random_states(), before, strict=True))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("then", [nn.Identity, Failing])
def test_layers_within_fused_attention_are_reached(enabled: bool, then: type[nn.Module]) -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    model = nn.Sequential(encoder, then())
    tokens = torch.rand(2, 5, 8, generator=torch.Generator().manual_seed(0))
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        with (
            torch.inference_mode(),
            suppress(RuntimeError),
            electrodes(model, ["0.linear1", "0.norm2", "1"]) as show,
        ):
            assert not torch.backends.mha.get_fastpath_enabled()
            caught = show(tokens)
            assert caught["0.linear1"].shape == (2, 5, 16)
            assert torch.equal(caught["0.norm2"], caught["1"])
        assert torch.backends.mha.get_fastpath_enabled() == enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


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


class Answers(nn.Module):
    """Answers twice with a container of x, 2 x and what is no tensor."""

    def __init__(self, container: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.container = container

    def forward(self, inputs: Tensor) -> Any:
        return self.container(self.inner(inputs), 2 * inputs, None)


class Members(nn.Module):
    def __init__(self, container: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = Answers(container)

    def forward(self, inputs: Tensor) -> None:
        self.layer(inputs)
        self.layer(10 * inputs)


Triple = namedtuple("Triple", ["first", "second", "third"])


@pytest.mark.parametrize(
    ("container", "members"),
    [
        (lambda *values: values, ("0", "1")),
        (lambda *values: list(values), ("0", "1")),
        (Triple, ("0", "1")),
        (lambda *values: dict(zip("abc", values, strict=True)), ("a", "b")),
        (lambda *values: OrderedDict(zip("abc", values, strict=True)), ("a", "b")),
        (lambda *values: dict(enumerate(values)), ("0", "1")),
    ],
)
def test_a_member_of_an_output_is_recorded_by_its_index_or_key(
    container: Callable[..., Any], members: tuple[str, str]
) -> None:
    first, second = members
    labels = [f"layer/{first}", f"layer/{second}", f"layer#2/{second}"]
    with electrodes(Members(container), labels) as show:
        caught = show(one(3))
    assert [caught[label].item() for label in labels] == [3, 6, 60]
    with (
        electrodes(Members(container), ["layer"]) as show,
        pytest.raises(ValueError, match=rf"of 2 tensors; name one: layer/{first}, layer/{second}"),
    ):
        show(one(3))
    with (
        electrodes(Members(container), ["layer/2"]) as show,
        pytest.raises(ValueError, match=rf"'2' is none of {first}, {second}"),
    ):
        show(one(3))


def test_an_output_without_tensors_is_refused_with_the_way_out() -> None:
    with (
        electrodes(Members(lambda *values: None), ["layer"]) as show,
        pytest.raises(ValueError, match="a NoneType of 0 tensors; record from a layer within it"),
    ):
        show(one(3))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_an_output_that_is_not_of_real_numbers_is_refused(dtype: torch.dtype) -> None:
    model = Members(lambda x, twice, none: (x, twice.to(dtype)))
    with (
        electrodes(model, ["layer/1"]) as show,
        pytest.raises(ValueError, match=f"layer 'layer/1' answers with numbers of type {dtype}"),
    ):
        show(one(3))
    with electrodes(model, ["layer/0"]) as show:
        assert show(one(3))["layer/0"].item() == 3


def test_the_only_tensor_of_an_output_needs_no_name() -> None:
    with electrodes(Members(lambda x, twice, none: (none, twice)), ["layer", "layer/1"]) as show:
        caught = show(one(3))
    assert caught["layer"].item() == caught["layer/1"].item() == 6


@pytest.mark.parametrize("weights", [True, False])
def test_attention_answers_with_its_values_and_its_weights(weights: bool) -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.attention(inputs, inputs, inputs, need_weights=weights)[0]

    model, tokens = Attending().eval(), torch.rand(2, 5, 8)
    expected, shares = model.attention(tokens, tokens, tokens)
    with electrodes(model, ["attention/0"]) as show:
        torch.testing.assert_close(show(tokens)["attention/0"], expected)
    if weights:
        with electrodes(model, ["attention/1"]) as show:
            torch.testing.assert_close(show(tokens)["attention/1"], shares)
    else:
        with electrodes(model, ["attention"]) as show:
            torch.testing.assert_close(show(tokens)["attention"], expected)


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


BLOCKS = nn.ModuleDict(
    {
        "layer1": nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()),
        "layer2": nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU()),
        "head": nn.Linear(1, 1),
    }
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"re:layer[12]\..*", ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer2.2"]),
        (r"re:.*\.0|head", ["layer1.0", "layer2.0", "head"]),
        (r"re:layer.", ["layer1", "layer2"]),
        ("type:Conv2d", ["layer1.0", "layer2.0"]),
        ("type:Sequential", ["layer1", "layer2"]),
        ("all", ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer2.2", "head"]),
    ],
)
def test_layers_are_found_by_expression_by_type_and_all(pattern: str, expected: list[str]) -> None:
    assert find_layers(BLOCKS, [pattern]) == expected
    assert find_layers(BLOCKS, ["head", pattern, pattern]) == [
        name for name, _ in BLOCKS.named_modules() if name in [*expected, "head"]
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("type:Conv3d", r"no layer of type 'Conv3d'; did you mean Conv2d"),
        ("type:conv2d", r"no layer of type 'conv2d'; did you mean Conv2d"),
        ("re:layer", r"no layer 're:layer'; did you mean layer[12] or layer[12]"),
        ("layer3.0", r"no layer 'layer3.0'; did you mean layer[12].0 or layer[12].0"),
        ("hed/1", r"no layer 'hed/1'; did you mean head"),
    ],
)
def test_what_fits_no_layer_is_answered_with_the_nearest(pattern: str, message: str) -> None:
    with pytest.raises(KeyError, match=message):
        find_layers(BLOCKS, ["head", pattern])


def test_what_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layers 're:\(' is no regular expression \(missing"):
        find_layers(BLOCKS, ["re:("])


def test_names_and_globs_may_end_in_a_call_or_a_member() -> None:
    patterns = ["layer1.?#2", "head/1", "head", "layer2.0#3/key", "head/1"]
    expected = ["layer1.0#2", "layer1.1#2", "layer2.0#3/key", "head/1", "head"]
    assert find_layers(BLOCKS, patterns) == expected


def test_a_name_that_looks_like_a_glob_is_a_name() -> None:
    model = nn.ModuleDict({"a[0]": nn.ReLU(), "a0": nn.ReLU()})
    assert find_layers(model, ["a[0]"]) == ["a[0]", "a0"]


@pytest.mark.parametrize(
    ("label", "patterns", "exact"),
    [
        ("relu", ["conv", "relu"], True),
        ("relu#2", ["relu"], True),
        ("relu#2", ["relu#2"], True),
        ("relu#2", ["relu#1"], False),
        ("relu#12", ["relu2"], False),
        ("pair#2/0", ["pair/0"], True),
        ("pair/0", ["pair"], False),
        ("relu", ["rel?", "all", "type:ReLU", "re:relu"], False),
    ],
)
def test_a_layer_that_was_asked_for_by_name_is_told_from_one_that_a_pattern_fits(
    label: str, patterns: list[str], exact: bool
) -> None:
    assert is_exact(label, patterns) == exact
