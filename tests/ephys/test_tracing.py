"""What tensors see, as traced, against the derivatives that say what they see."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ephys.tracing import HOME, RULES, Sight, Tracer

SHAPE = (2, 2, 4, 5)  # of the images: nothing that is as long as something else, but the batch
ATEN = torch.ops.aten

Function = Callable[[Tensor], Tensor]


def images(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def constant(*shape: int) -> Tensor:
    return images(shape, seed=1)


def traced(function: Function, shown: Tensor) -> tuple[Tensor, Sight | None]:
    with torch.no_grad(), Tracer() as tracer:
        tracer.watch(shown)
        output = function(shown)
    return output, tracer.sight(output)


def laid_out(sight: Sight, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The layers of the rows, and of the columns, for every element."""
    rows, columns = (
        np.broadcast_to(seen.parts, (HOME + 1, *shape)) for seen in (sight.rows, sight.columns)
    )
    return rows, columns


def boxes(sight: Sight, shape: tuple[int, ...]) -> np.ndarray:
    """First and last row, first and last column of every element; NaN where it sees nothing."""
    found = np.stack([part for axis in laid_out(sight, shape) for part in (-axis[0], axis[1])])
    return np.where(np.isinf(found), np.nan, found)


def measured(function: Function, shape: tuple[int, ...] = SHAPE, draws: int = 1) -> np.ndarray:
    """The same by derivatives, or where there are none, by what changes with each pixel."""
    seen: Any = False
    for seed in range(draws):
        shown = images(shape, seed)
        answer = function(shown.clone().requires_grad_())
        if answer.requires_grad:
            jacobian = torch.autograd.functional.jacobian(function, shown)  # type: ignore[no-untyped-call]
            seen = seen | (jacobian.abs().sum((-4, -3)) > 1e-9).numpy()
        else:
            seen = seen | _changed(function, shown)
    spans = [_span(seen.any(-1)), _span(seen.any(-2))]
    return np.concatenate(spans)


def _changed(function: Function, shown: Tensor) -> np.ndarray:
    before = function(shown)
    changed = np.zeros((*before.shape, *shown.shape[-2:]), bool)
    for row, column in np.ndindex(*shown.shape[-2:]):
        for value in (-9.0, 9.0):  # more than any other
            other = shown.clone()
            other[..., row, column] = value
            changed[..., row, column] |= (function(other) != before).numpy()
    return changed


def _span(seen: np.ndarray) -> np.ndarray:
    """First and last along the last axis, NaN where there is none."""
    last = seen.shape[-1] - 1
    span = np.stack([seen.argmax(-1), last - seen[..., ::-1].argmax(-1)])
    return np.where(seen.any(-1), span, np.nan)


def assert_exact(function: Function, shape: tuple[int, ...] = SHAPE, draws: int = 1) -> Sight:
    output, sight = traced(function, images(shape))
    assert sight is not None
    np.testing.assert_array_equal(boxes(sight, output.shape), measured(function, shape, draws))
    return sight


def tokens(shown: Tensor) -> Tensor:
    """(batch, head, token, feature)."""
    return shown.flatten(2).transpose(1, 2).unsqueeze(1)


def attended(shown: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Attention of all places to all."""
    row = tokens(shown)
    return F.scaled_dot_product_attention(row, row, row, mask, is_causal=causal)


def windows(shown: Tensor) -> Tensor:
    """Attention in 2 x 3 windows that are put into the batch, and back."""
    cut = shown[..., :3].reshape(2, 2, 2, 2, 1, 3).permute(0, 2, 4, 3, 5, 1).reshape(4, 1, 6, 2)
    mixed = F.scaled_dot_product_attention(cut, cut, cut).reshape(2, 2, 1, 2, 3, 2)
    return mixed.permute(0, 5, 1, 3, 2, 4).reshape(2, 2, 4, 3)


def heads(shown: Tensor) -> Tensor:
    """Multi-head attention with its weights, as nn.Module does it."""
    mixing = nn.MultiheadAttention(2, 1, batch_first=True, dtype=torch.float64).eval()
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.copy_(constant(*parameter.shape))
    row = shown.flatten(2).transpose(1, 2)
    return mixing(row, row, row)[0]


def mixed(shown: Tensor) -> Tensor:
    """All channels of a position together, where they see different."""
    return shown.sum(1)


# By operation, ways to use it. Channels that see different are summed: they are told apart no
# further than by their position.
CASES: dict[str, Function] = {
    "add": lambda x: x + x.flip(3),
    "constant": lambda x: x * 2 + constant(4, 5),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach().flip(2),
    "alias": lambda x: ATEN.alias(x),
    "lift_fresh": lambda x: ATEN.lift_fresh(x),
    "contiguous": lambda x: x.transpose(2, 3).contiguous(),
    "_to_copy": lambda x: x.float().double(),
    "native_dropout": lambda x: ATEN.native_dropout(x, 0.0, False)[0],
    "_prelu_kernel": lambda x: F.prelu(x, constant(2)),
    "hardtanh": lambda x: F.hardtanh(x, -9, 9),
    "mish": F.mish,
    "log_sigmoid_forward": F.logsigmoid,
    "copy": lambda x: torch.zeros_like(x.flip(2)).copy_(x.flip(2)),
    "convolution": lambda x: F.conv2d(x, constant(3, 2, 3, 2), None, (2, 1), (1, 2), (1, 2)),
    "convolution in groups": lambda x: F.conv2d(x, constant(4, 1, 2, 3), groups=2),
    "convolution of one image": lambda x: F.conv2d(x[:, 0], constant(1, 2, 3, 3), padding=1),
    "convolution 1d": lambda x: F.conv1d(x.flatten(2), constant(1, 2, 3), padding=1),
    "convolution 3d": lambda x: F.conv3d(x[:, None], constant(1, 1, 2, 3, 2), padding=1),
    "transposed": lambda x: F.conv_transpose2d(x, constant(2, 1, 3, 2), stride=2, padding=1),
    "transposed with holes": lambda x: F.conv_transpose2d(x, constant(2, 1, 1, 2), stride=3),
    "holes filled": lambda x: F.conv2d(
        F.conv_transpose2d(x, constant(2, 1, 1, 1), stride=2), constant(1, 1, 2, 2)
    ),
    "avg_pool1d": lambda x: F.avg_pool1d(x.flatten(2), 3, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2, ceil_mode=True),
    "avg_pool2d of one image": lambda x: F.avg_pool2d(x[:, 1], (2, 3), 1),
    "avg_pool3d": lambda x: F.avg_pool3d(x[:, None], (1, 3, 2)),
    "_adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "_adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x[:, None], (2, 3, 2)),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 6),
    "global pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "global pool, channels last": lambda x: F.adaptive_avg_pool2d(
        x.to(memory_format=torch.channels_last), 1
    ),
    "upsample_nearest1d": lambda x: F.interpolate(x.flatten(2), scale_factor=1.5),
    "upsample_nearest2d": lambda x: F.interpolate(x, size=(7, 3)),
    "upsample_nearest3d": lambda x: F.interpolate(x[:, None], size=(2, 6, 4)),
    "_upsample_nearest_exact1d": lambda x: F.interpolate(
        x.flatten(2), scale_factor=0.7, mode="nearest-exact"
    ),
    "_upsample_nearest_exact2d": lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    "_upsample_nearest_exact3d": lambda x: F.interpolate(
        x[:, None], size=(2, 6, 4), mode="nearest-exact"
    ),
    "upsample_linear1d": lambda x: F.interpolate(x.flatten(2), size=9, mode="linear"),
    "upsample_bilinear2d": lambda x: F.interpolate(x, scale_factor=(3, 0.6), mode="bilinear"),
    "corners aligned": lambda x: F.interpolate(x, (7, 8), mode="bilinear", align_corners=True),
    "upsample_trilinear3d": lambda x: F.interpolate(x[:, None], (2, 6, 3), mode="trilinear"),
    "upsample_bicubic2d": lambda x: F.interpolate(x, size=(8, 3), mode="bicubic"),
    "constant_pad_nd": lambda x: F.pad(x, (1, 2, -1, 3), value=7),
    "constant_pad_nd of channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)),
    "padding around a mean": lambda x: F.pad(x.mean((2, 3), keepdim=True), (0, 1)),
    "reflection_pad1d": lambda x: F.pad(x.flatten(2), (3, 2), mode="reflect"),
    "reflection_pad2d": lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "reflection_pad3d": lambda x: F.pad(x[:, None], (1, 2, 3, 1, 1, 0), mode="reflect"),
    "replication_pad1d": lambda x: F.pad(x.flatten(2), (3, 2), mode="replicate"),
    "replication_pad2d": lambda x: F.pad(x, (1, 2, -1, 1), mode="replicate"),
    "replication_pad3d": lambda x: F.pad(x[:, None], (1, 2, 3, 1, 1, 0), mode="replicate"),
    "slice": lambda x: x[:, 1:, 1::2, -3:],
    "select": lambda x: x[:, :, -2],
    "select an image": lambda x: x[1],
    "index": lambda x: x[:, :, torch.tensor([-1, 0, 0])],
    "index_select": lambda x: x.index_select(3, torch.tensor([4, 1])),
    "split": lambda x: ATEN.split(x, 2, 3)[1],
    "split_with_sizes": lambda x: ATEN.split_with_sizes(x, [1, 3], 2)[1],
    "chunk": lambda x: x.chunk(3, -1)[2],
    "unbind": lambda x: x.unbind(2)[3],
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: x.roll((1, -7), (2, 3)),
    "cat": lambda x: torch.cat([x, x.flip(2)[:, :, :1]], 2),
    "cat along channels": lambda x: mixed(torch.cat([x, x.flip(3)], 1)),
    "cat of a token": lambda x: torch.cat([constant(2, 1, 2), tokens(x)[:, 0]], 1),
    "stack": lambda x: mixed(torch.stack([x, x.flip(3)], 1)),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(-1, 1),
    "t": lambda x: x[0, 0].t(),
    "t of a row": lambda x: x[0, 0, 0].t(),
    "view": lambda x: x.view(2, 4, 2, 5),
    "view of other bits": lambda x: x.view(torch.int64),
    "_unsafe_view": lambda x: ATEN._unsafe_view(x, [2, 40]),
    "_reshape_alias": lambda x: ATEN._reshape_alias(x, [2, 2, 20], [40, 20, 1]),
    "reshape": lambda x: x.permute(0, 2, 3, 1).reshape(2, 20, 2).reshape(2, 2, 2, 5, 2),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: torch.unflatten(x, 2, (2, 2)),
    "squeeze": lambda x: x[:, :1, :, :1].squeeze(),
    "squeeze some": lambda x: x[:, :1, :1].squeeze((1, 2)),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "as_strided": lambda x: x.mean((2, 3)).as_strided((2, 2), (1, 2)),
    "expand": lambda x: x[:, :1].expand(3, 2, 2, 4, 5),
    "repeat": lambda x: x.repeat(1, 2, 3, 1),
    "repeat, one dimension more": lambda x: x.repeat(2, 1, 1, 1, 1),
    "mean": lambda x: x.mean(2),
    "mean of all": lambda x: x.mean(),
    "sum": lambda x: x.sum((-1, 1), keepdim=True),
    "prod": lambda x: x.prod(2),
    "var": lambda x: x.var(3),
    "std": lambda x: x.std((2, 3)),
    "var_mean": lambda x: torch.var_mean(x, 2)[0],
    "std_mean": lambda x: torch.std_mean(x, 3, keepdim=True)[1],
    "logsumexp": lambda x: x.logsumexp(3),
    "norm": lambda x: ATEN.norm(x, 2, [2]),
    "linalg_vector_norm": lambda x: F.normalize(x, dim=1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2),
    "pixel_unshuffle": lambda x: mixed(F.pixel_unshuffle(x[..., :4], 2)),
    "glu": lambda x: F.glu(x, 1),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "local response normalization": lambda x: F.local_response_norm(x, 3),
    "_softmax": lambda x: x.softmax(-1),
    "_log_softmax": lambda x: F.log_softmax(x, 2),
    "_safe_softmax": lambda x: ATEN._safe_softmax(x, 1),
    "native_layer_norm": lambda x: F.layer_norm(x, (5,)),
    "native_layer_norm, channels last": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (2,)),
    "rms norm": lambda x: F.rms_norm(x, (5,)),
    "_fused_rms_norm": lambda x: ATEN._fused_rms_norm(x, [5], None, 1e-5)[0],
    "native_group_norm": lambda x: F.group_norm(x, 1),
    "instance norm": F.instance_norm,
    "native_batch_norm": lambda x: F.batch_norm(x, constant(2), constant(2) ** 2),
    "native_batch_norm by its batch": lambda x: F.batch_norm(x, None, None, training=True),
    "_native_batch_norm_legit_no_training": lambda x: ATEN._native_batch_norm_legit_no_training(
        x, None, None, constant(2), constant(2) ** 2, 0.1, 1e-5
    )[0],
    "_native_batch_norm_legit": lambda x: ATEN._native_batch_norm_legit.no_stats(
        x, None, None, True, 0.1, 1e-5
    )[0],
    "mm": lambda x: x[0, 0] @ constant(5, 3),
    "mm from the left": lambda x: constant(3, 4) @ x[0, 0],
    "mm of two": lambda x: x[0, 0] @ x[0, 1].t(),
    "bmm": lambda x: x @ x.transpose(2, 3),
    "addmm": lambda x: torch.addmm(x[0, 0], x[0, 1], constant(5, 5)),
    "baddbmm": lambda x: torch.baddbmm(x[0], x[0], constant(2, 5, 5)),
    "linear": lambda x: F.linear(x, constant(3, 5), constant(3)),
    "einsum": lambda x: torch.einsum("bchw,cd->bdhw", x, constant(2, 3)),
    "attention": attended,
    "attention in single precision": lambda x: attended(x.float()).double(),
    "attention of given queries": lambda x: F.scaled_dot_product_attention(
        constant(2, 1, 3, 2), tokens(x), tokens(x)
    ),
    "attention to given keys": lambda x: F.scaled_dot_product_attention(
        tokens(x), constant(2, 1, 3, 2), constant(2, 1, 3, 2)
    ),
    "attention within windows": windows,
    "multi-head attention": heads,
}

# These choose among what they see, or answer with whole numbers: many images show all of it.
CHOOSING: dict[str, Function] = {
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "where": lambda x: torch.where(x > 0, x.flip(2), x),
    "relu": F.relu,
    "max_pool1d": lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1),
    "max_pool2d": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "max_pool2d with dilation": lambda x: F.max_pool2d(x, 2, 1, 1, dilation=2),
    "max_pool2d of one image": lambda x: F.max_pool2d(x[:, 0], 2),
    "max_pool3d": lambda x: F.max_pool3d(x[:, None], (1, 2, 2), 1),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "adaptive_max_pool3d": lambda x: F.adaptive_max_pool3d(x[:, None], (2, 3, 2)),
    "amax": lambda x: x.amax(2),
    "amin": lambda x: x.amin(3),
    "max": lambda x: x.max(2).values,
    "min": lambda x: x.min(3).values,
    "argmax": lambda x: x.argmax(2),
    "argmin": lambda x: x.argmin(3),
    "any": lambda x: (x > 1).any(2),
    "all": lambda x: (x > -1).all(3),
    "native_channel_shuffle": lambda x: ATEN.native_channel_shuffle(x.detach(), 2),
}
DRAWS = 60  # of 5 that are alike, one is never chosen in 60 with probability 1e-6


@pytest.mark.parametrize("name", CASES)
def test_tensors_see_what_their_derivatives_say(name: str) -> None:
    assert_exact(CASES[name])


@pytest.mark.parametrize("name", CHOOSING)
def test_what_may_be_chosen_is_seen(name: str) -> None:
    assert_exact(CHOOSING[name], draws=DRAWS)


@pytest.mark.parametrize("name", [*CASES, *CHOOSING])
def test_in_inference_mode_too_nothing_is_wrong(name: str) -> None:
    """Fewer operations are taken apart there, and some have no rule."""
    function = {**CASES, **CHOOSING}[name]
    output, expected = traced(function, images())
    with torch.inference_mode(), Tracer() as tracer:
        shown = images()
        tracer.watch(shown)
        sight = tracer.sight(function(shown))
    assert expected is not None
    if sight is not None:
        np.testing.assert_array_equal(boxes(sight, output.shape), boxes(expected, output.shape))


def test_operations_of_gpus_see_what_those_of_the_cpu_see() -> None:
    """Worked out by shapes alone, without a GPU."""

    def attention(name: str, *options: Any) -> Function:
        return lambda x: getattr(ATEN, name)(tokens(x), tokens(x), tokens(x), *options)[0]

    def normalization(name: str) -> Function:
        one = torch.empty(2, device="meta")
        return lambda x: getattr(ATEN, name)(x, one, one, one, one, False, 0.1, 1e-5)[0]

    for like, function in {
        "attention": attention("_scaled_dot_product_flash_attention"),
        "attention ": attention("_scaled_dot_product_efficient_attention", None, False),
        "attention  ": attention("_scaled_dot_product_cudnn_attention", None, False),
        "native_batch_norm": normalization("cudnn_batch_norm"),
        "native_batch_norm ": normalization("miopen_batch_norm"),
    }.items():
        output, sight = traced(function, torch.empty(SHAPE, device="meta"))
        _, expected = traced(CASES[like.strip()], images())
        assert sight is not None
        assert expected is not None
        np.testing.assert_array_equal(boxes(sight, output.shape), boxes(expected, output.shape))


class Log(TorchDispatchMode):
    """Remembers the operations that were run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


ON_GPUS = {
    *("cudnn_batch_norm", "miopen_batch_norm", "_scaled_dot_product_flash_attention"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
}


def test_every_rule_is_tried_above() -> None:
    ran = set(ON_GPUS)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), Log() as log:
            for function in [*CASES.values(), *CHOOSING.values()]:
                function(images())
        ran |= log.names | {name.removesuffix("_") for name in log.names}
    assert set(RULES) - ran == set()


whole = st.integers


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(whole(1, 6), whole(1, 6)),
    kernel=st.tuples(whole(1, 4), whole(1, 4)),
    stride=st.tuples(whole(1, 3), whole(1, 3)),
    padding=st.tuples(whole(0, 3), whole(0, 3)),
    dilation=st.tuples(whole(1, 2), whole(1, 2)),
)
def test_convolutions(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(all(s + 2 * p >= r for s, p, r in zip(size, padding, reach, strict=True)))
    weight = constant(1, 1, *kernel)
    assert_exact(lambda x: F.conv2d(x, weight, None, stride, padding, dilation), (1, 1, *size))


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(whole(1, 4), whole(1, 4)),
    kernel=st.tuples(whole(1, 4), whole(1, 4)),
    stride=st.tuples(whole(1, 3), whole(1, 3)),
    padding=whole(0, 2),
    dilation=whole(1, 2),
    more=whole(0, 1),
)
def test_transposed_convolutions(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: int,
    dilation: int,
    more: int,
) -> None:
    assume(more < max(min(stride), dilation))
    out = [
        (n - 1) * s - 2 * padding + dilation * (k - 1) + more + 1
        for n, k, s in zip(size, kernel, stride, strict=True)
    ]
    assume(min(out) > 0)
    weight = constant(1, 1, *kernel)
    assert_exact(
        lambda x: F.conv_transpose2d(x, weight, None, stride, padding, more, 1, dilation),
        (1, 1, *size),
    )


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(whole(2, 7), whole(2, 7)),
    kernel=whole(1, 4),
    stride=whole(1, 3),
    padding=whole(0, 2),
    rounding_up=st.booleans(),
)
def test_pools(
    size: tuple[int, int], kernel: int, stride: int, padding: int, rounding_up: bool
) -> None:
    assume(padding <= kernel // 2)
    assume(min(size) + 2 * padding >= kernel)
    options = (kernel, stride, padding, rounding_up)
    assert_exact(lambda x: F.avg_pool2d(x, *options), (1, 1, *size))
    by_maximum = traced(lambda x: F.max_pool2d(x, *options[:3], 1, rounding_up), images())[1]
    by_mean = traced(lambda x: F.avg_pool2d(x, *options), images())[1]
    assert by_maximum is not None
    assert by_mean is not None
    assert by_maximum.is_like(by_mean)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(whole(1, 7), whole(1, 7)),
    new=st.tuples(whole(1, 12), whole(1, 12)),
    mode=st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]),
    corners=st.booleans(),
)
def test_interpolation(
    size: tuple[int, int], new: tuple[int, int], mode: str, corners: bool
) -> None:
    aligned = corners and mode.startswith("bi")
    assert_exact(
        lambda x: F.interpolate(x, new, mode=mode, align_corners=aligned or None), (1, 1, *size)
    )


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(whole(4, 6), whole(4, 6)),
    padding=st.tuples(whole(-1, 3), whole(-1, 3), whole(-1, 3), whole(-1, 3)),
    mode=st.sampled_from(["constant", "reflect", "replicate"]),
)
def test_padding(size: tuple[int, int], padding: tuple[int, int, int, int], mode: str) -> None:
    assert_exact(lambda x: F.pad(x, padding, mode=mode), (1, 1, *size))


@settings(deadline=None, max_examples=40)
@given(
    start=whole(-6, 6), stop=whole(-6, 9), step=whole(1, 3), dim=st.sampled_from([2, 3]), at=whole()
)
def test_slices(start: int, stop: int, step: int, dim: int, at: int) -> None:
    chosen = slice(start, stop, step)
    kept = len(range(SHAPE[dim])[chosen])
    assume(kept)
    index: list[Any] = [slice(None)] * 4
    index[dim] = chosen
    assert_exact(lambda x: x[tuple(index)].select(dim, at % kept))


UNKNOWN: dict[str, Function] = {
    "fft": lambda x: torch.fft.rfft2(x).abs(),
    "sort": lambda x: x.sort(2).values,
    "topk": lambda x: x.topk(2).values,
    "cumsum": lambda x: x.cumsum(2),
    "grid_sample": lambda x: F.grid_sample(x, constant(2, 3, 3, 2), align_corners=False),
    "im2col": lambda x: F.unfold(x, 3),
    "unfold": lambda x: x.unfold(2, 3, 1),
    "roll without dimensions": lambda x: x.roll(3),
    "an index that is seen": lambda x: constant(4, 5)[:, x.argmax(3)[0, 0]],
    "a mask": lambda x: x[:, :, torch.tensor([True, False, True, False])],
    "two indices": lambda x: x[:, :, torch.tensor([0, 1]), torch.tensor([1, 1])],
    "weights that are seen": lambda x: F.conv2d(x, x[:, :, :3, :3]),
    "gates within a dimension that is seen": lambda x: F.glu(x[..., :4], 3),
    "a result that is given": lambda x: torch.add(x, 1, out=x.flip(3)),
    "other bits": lambda x: x.view(torch.int32),
    "another shape in place": lambda x: x.clone().transpose_(2, 3),
    "another stride": lambda x: x[..., :4].transpose(2, 3).as_strided((2, 2, 4, 4), (40, 20, 5, 1)),
    "hidden by minus infinity": lambda x: x.masked_fill(constant(4, 5) > 0, -torch.inf).softmax(3),
    "a causal mask": lambda x: attended(x, causal=True),
    "a causal mask, in single precision": lambda x: attended(x.float(), causal=True),
    "a mask of attention": lambda x: attended(x.float(), constant(20, 20) > 0),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_rule_is_unknown_and_all_that_is_made_of_it(name: str) -> None:
    function = UNKNOWN[name]
    function(images())  # it can be done
    assert traced(function, images())[1] is None
    assert traced(lambda x: (function(x) + 1).sum(0), images())[1] is None


def test_what_was_never_shown_is_unknown() -> None:
    assert traced(lambda x: torch.zeros_like(x) + 1, images())[1] is None


STEERING: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.max().item(),
    "a condition": lambda x: bool((x > 9).any()),
    "float": lambda x: float(x[0, 0, 0, 0]),
    "equal": lambda x: torch.equal(x, x.flip(2)),
    "allclose": lambda x: torch.allclose(x, x.flip(2)),
    "nonzero": lambda x: (x > 1).nonzero(),
    "how many are chosen": lambda x: x.masked_select(x > 0),
    "how many a mask leaves": lambda x: x[x > 0],
    "unique": lambda x: ATEN._unique2(x),
}


@pytest.mark.parametrize("name", STEERING)
def test_once_a_value_has_left_for_python_nothing_is_known(name: str) -> None:
    shown = images()
    with torch.no_grad(), Tracer() as tracer:
        tracer.watch(shown)
        before = shown.flip(2)
        assert tracer.sight(before) is not None
        STEERING[name](shown)
        assert tracer.sight(shown * 2) is None
        assert tracer.sight(before) is None


def test_values_of_constants_may_leave() -> None:
    sight = traced(lambda x: x * constant(3).max().item(), images())[1]
    assert sight is not None


def by(change: Callable[[Tensor, Tensor], object], *, start: Function = torch.zeros_like) -> Any:
    """Change, by the images, what is made by ``start``; then use it."""

    def function(x: Tensor) -> Tensor:
        written = start(x)
        change(written, x)
        return written + x[:, :1, :1, :1]

    return function


def part_of(x: Tensor) -> Tensor:
    return torch.zeros(2, 2, 4, 4, dtype=x.dtype)


def early_view(written: Tensor, x: Tensor) -> Tensor:
    """A view of a constant, from before it was written to."""
    view = written[:, :, :2]
    written.add_(x)
    return view


WRITES: dict[str, Function] = {
    "all": by(lambda y, x: y.copy_(x)),
    "all of a slice": by(lambda y, x: y[:].copy_(x)),
    "every other row": by(lambda y, x: y[:, :, ::2].copy_(x[:, :, ::2])),
    "an item": by(lambda y, x: y.__setitem__((0, 0, 0, 0), x[0, 0, 2, 2])),
    "through a mask": by(lambda y, x: y.__setitem__(x > 0, 1.0)),
    "a square, on its side": by(
        lambda y, x: y.transpose(2, 3).copy_(x[..., :4]),
        start=lambda x: torch.zeros(2, 2, 4, 4, dtype=x.dtype),
    ),
    "another view": by(lambda y, x: y.view(y.shape).copy_(x.flip(3))),
    "a number": by(lambda y, x: y.fill_(x.mean())),
    "numbers from elsewhere": by(lambda y, x: y.index_put_((torch.tensor([0]),), x[:1])),
    "several tensors at once": by(
        lambda y, x: torch._foreach_add_([y, y.clone()], [x.flip(2), x]), start=torch.clone
    ),
    "nothing": by(lambda y, x: y.zero_(), start=torch.clone),
    "nothing in a slice": by(lambda y, x: y[:, :, :2].zero_(), start=torch.clone),
    "a number in a slice": by(lambda y, x: y[:, :, 0].fill_(1), start=torch.clone),
    "half of the channels": lambda x: (
        lambda y: (y[:, :1].add_(x[:, 1:].flip(3)), y[:, 1:] + 0)[1]
    )(x.clone()),
    "a view in place": lambda x: (lambda y: (y[:, :, 1:].mul_(2), y + 0)[1])(x.clone()),
    "an early view": lambda x: early_view(torch.zeros_like(x), x) + 1,
    "an early view of what is seen": lambda x: early_view(x.clone(), x.flip(3)) + 1,
    "a sum in place": lambda x: x.clone().add_(x.flip(2)),
    "an activation in place": lambda x: F.leaky_relu_(x * 1),
    "a buffer": lambda x: torch.cat([x[:, :1], x[:, 1:].clone().mul_(2)], 1),
}
KNOWN_WRITES = {
    *("all", "all of a slice", "another view", "a view in place", "a sum in place"),
    *("an activation in place", "a buffer"),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_to_is_never_wrong(name: str) -> None:
    _, sight = traced(WRITES[name], images())
    if name in KNOWN_WRITES:
        assert_exact(WRITES[name])
    else:
        assert sight is None


def test_a_constant_that_shares_no_memory_with_what_is_written_stays_constant() -> None:
    def function(x: Tensor) -> Tensor:
        written, other = torch.zeros_like(x), constant(5)
        written[:, :, 1:] = x[:, :, 1:]
        return x + other

    assert_exact(function)


def homes(function: Function, shape: tuple[int, ...] = SHAPE) -> tuple[list[Any], list[Any]]:
    """Of the first image's first channel, by rows and by columns."""
    output, sight = traced(function, images(shape))
    assert sight is not None
    rows, columns = laid_out(sight, output.shape)
    return rows[HOME, 0, 0, :, 0].tolist(), columns[HOME, 0, 0, 0].tolist()


def test_an_element_stands_above_the_middle_of_what_it_would_see_without_borders() -> None:
    weight = constant(1, 2, 3, 2)
    # 3 rows, of which 2 before the image: -2 .. 0; 2 columns, at 0 and 2.
    assert homes(lambda x: F.conv2d(x, weight, None, (2, 1), (2, 0), (1, 2))) == (
        [-1, 1, 3],
        [1, 2, 3],
    )
    # Two grids: row i of the second at 2 (2 i) + 0.5 + 1, of images with 9 rows.
    halves: Function = lambda x: F.avg_pool2d(F.avg_pool2d(x, 2), 2)  # noqa: E731
    assert homes(halves, (2, 2, 9, 8)) == ([1.5, 5.5], [1.5, 5.5])
    assert homes(lambda x: F.interpolate(x, scale_factor=2), (1, 1, 2, 2))[0] == [
        *(-0.25, 0.25, 0.75, 1.25)
    ]
    assert homes(lambda x: F.interpolate(x, (5, 9), mode="bilinear", align_corners=True)) == (
        [0, 0.75, 1.5, 2.25, 3],
        [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4],
    )
    assert homes(lambda x: F.pad(x, (2, 1))) == ([0, 1, 2, 3], [-2, -1, 0, 1, 2, 3, 4, 5])
    assert homes(lambda x: x.flip(2)[..., 1::2]) == ([3, 2, 1, 0], [1, 3])
    assert homes(lambda x: x.roll(1, 2))[0] == [3, 0, 1, 2]
    assert homes(lambda x: x.mean(2, keepdim=True)) == ([1.5], [0, 1, 2, 3, 4])
    # Of 4 rows, each of 3 gets 2, which overlap.
    assert homes(lambda x: F.adaptive_avg_pool2d(x, (3, 5)))[0] == [0.5, 1.5, 2.5]
    # Transposed, stride 2: elements lie half a pixel apart, the first on the first pixel.
    ones = constant(2, 1, 3, 3)
    grown: Function = lambda x: F.conv_transpose2d(x, ones, stride=2, padding=1)  # noqa: E731
    assert homes(grown)[0] == [0, 0.5, 1, 1.5, 2, 2.5, 3]


def test_sums_and_gates_leave_elements_where_they_are() -> None:
    weight, places = constant(2, 2, 3, 3), ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    assert homes(lambda x: x + F.conv2d(x, weight, padding=1)) == places
    assert homes(lambda x: x * x.mean((2, 3), keepdim=True)) == places
    assert homes(lambda x: x.mean((2, 3), keepdim=True) * x) == places


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("others", [2, 30])
def test_what_attends_stays_where_it_is(fused: bool, others: int) -> None:
    """Also where there are more, or fewer, of those that are attended to."""

    def function(x: Tensor) -> Tensor:
        queries, keys = tokens(x), tokens(F.adaptive_avg_pool2d(x, (others, 1)))
        if fused:
            return F.scaled_dot_product_attention(queries, keys, keys)
        return (queries @ keys.transpose(2, 3)).softmax(-1) @ keys

    output, sight = traced(function, images())
    assert sight is not None
    rows, columns = laid_out(sight, output.shape)
    assert rows[HOME, 0, 0, :, 0].tolist() == np.repeat(np.arange(4), 5).tolist()
    assert columns[HOME, 0, 0, :, 0].tolist() == np.tile(np.arange(5), 4).tolist()


def test_a_token_without_a_place_stands_nowhere_and_sees_nothing() -> None:
    output, sight = traced(CASES["cat of a token"], images())
    assert sight is not None
    assert np.isnan(boxes(sight, output.shape)[:, :, 0]).all()
    assert np.isnan(laid_out(sight, output.shape)[0][HOME][:, 0]).all()
    assert laid_out(sight, output.shape)[0][HOME][0, 1:, 0].tolist() == [*np.repeat(range(4), 5)]


@settings(deadline=None, max_examples=40)
@given(
    kernel=st.tuples(whole(1, 4), whole(1, 4)),
    stride=whole(1, 3),
    padding=whole(0, 3),
    dilation=whole(1, 2),
    mode=st.sampled_from(["zeros", "reflect", "replicate"]),
    pool=st.sampled_from([None, 2, 3]),
)
def test_padding_is_seen_where_more_image_changes_the_answer(
    kernel: tuple[int, int], stride: int, padding: int, dilation: int, mode: str, pool: int | None
) -> None:
    """More rows above, say: only the elements that saw padding there answer otherwise."""
    size, more = (10, 11), 3 * stride * (pool or 1)  # as much as the padding, and all grids fit
    weight = constant(1, 1, *kernel)

    def function(x: Tensor) -> Tensor:
        if mode != "zeros":
            x = F.pad(x, (padding,) * 4, mode=mode)
        answer = F.conv2d(x, weight, None, stride, padding if mode == "zeros" else 0, dilation)
        return F.avg_pool2d(answer, pool) if pool else answer

    larger = images((1, 1, size[0] + 2 * more, size[1] + 2 * more))
    rows, columns = (slice(more, more + n) for n in size)
    try:
        output, sight = traced(function, larger[..., rows, columns].contiguous())
    except RuntimeError:
        assume(False)  # the kernel is larger than the image
    assert sight is not None
    seen = laid_out(sight, output.shape)
    sides = [
        (seen[0][2], larger[..., : rows.stop, columns], "high"),
        (seen[0][3], larger[..., rows.start :, columns], "low"),
        (seen[1][2], larger[..., rows, : columns.stop], "high"),
        (seen[1][3], larger[..., rows, columns.start :], "low"),
    ]
    height, width = output.shape[2:]
    for padded, shown, kept in sides:
        answer = function(shown)
        both = answer[..., -height:, -width:] if kept == "high" else answer[..., :height, :width]
        changed = ((both - output).abs() > 1e-9).numpy()
        # An element that saw padding alone was the same constant all along.
        blind = np.isnan(boxes(sight, output.shape)).any(0)
        np.testing.assert_array_equal(changed[~blind], padded[~blind] > 0)


def sight_of(function: Function, shape: tuple[int, ...] = (2, 2, 12, 12)) -> Sight:
    sight = traced(function, images(shape))[1]
    assert sight is not None
    return sight


def test_an_image_is_moved_by_whole_steps_of_every_grid_on_the_way() -> None:
    weight = constant(2, 2, 3, 3)
    assert sight_of(F.relu).align == (1, 1)
    assert sight_of(lambda x: F.conv2d(x, weight, stride=(2, 3))).align == (2, 3)
    assert sight_of(lambda x: F.max_pool2d(F.conv2d(x, weight, stride=2), 2)).align == (4, 4)
    assert sight_of(lambda x: x[..., ::3]).align == (1, 3)
    # Two ways of 4 and 6 pixels meet on every 12th.
    assert sight_of(lambda x: x[..., ::4].mean() + x[..., ::6].mean()).align == (1, 12)
    # Back up again, the grid of the lower map remains the coarsest.
    assert sight_of(lambda x: F.interpolate(F.max_pool2d(x, 4), scale_factor=4)).align == (4, 4)
    # Three elements on two pixels: only every second pixel has one on it.
    assert sight_of(lambda x: F.interpolate(x, scale_factor=1.5)).align == (2, 2)
    assert sight_of(lambda x: F.pixel_unshuffle(x, 3)).align == (3, 3)


ANCHORED: dict[str, Function] = {
    "an embedding": lambda x: x + constant(12, 12),
    "an embedding of rows": lambda x: x + constant(12, 1),
    "an embedding in place": lambda x: x.clone().add_(constant(12, 12)),
    "coordinates beside": lambda x: torch.cat([x, constant(2, 1, 12, 12)], 1),
    "coordinates in a stack": lambda x: torch.stack([x, constant(2, 2, 12, 12)], 1),
    "a token before": lambda x: torch.cat([constant(2, 1, 2), tokens(x)[:, 0]], 1),
    "a full connection": lambda x: F.linear(x.flatten(1), constant(3, 288)),
    "a mixture of rows": lambda x: constant(12, 12) @ x,
    "a bias of attention": lambda x: attended(x.float(), constant(144, 144).float()),
    "an embedding in a product": lambda x: torch.baddbmm(
        constant(2, 12, 3), x.mean(1), constant(2, 12, 3)
    ),
    "upside down": lambda x: x.flip(2),
}
FREE: dict[str, Function] = {
    "a bias": lambda x: x + constant(2, 1, 1),
    "a convolution": lambda x: F.conv2d(x, constant(2, 2, 3, 3), constant(2)),
    "normalization": lambda x: F.batch_norm(x, constant(2), constant(2) ** 2, constant(2)),
    "channels last": lambda x: F.linear(x.permute(0, 2, 3, 1), constant(3, 2), constant(3)),
    "attention": attended,
}


@pytest.mark.parametrize("name", ANCHORED)
def test_numbers_that_differ_from_place_to_place_anchor(name: str) -> None:
    assert sight_of(ANCHORED[name]).anchored


@pytest.mark.parametrize("name", FREE)
def test_numbers_that_are_the_same_everywhere_do_not(name: str) -> None:
    assert not sight_of(FREE[name]).anchored


def test_a_view_is_anchored_by_what_is_added_to_it_in_place() -> None:
    with torch.no_grad(), Tracer() as tracer:
        shown = images()
        tracer.watch(shown)
        copied = shown.clone()
        view = copied.view(2, 2, 20)
        copied.add_(constant(4, 5))
        assert tracer.sight(view) is None
        sight = tracer.sight(copied)
    assert sight is not None
    assert sight.anchored


def test_the_largest_operation_is_told_in_bytes_with_its_operands() -> None:
    shown = images((2, 1, 10, 10))  # 1600 bytes
    with torch.no_grad(), Tracer() as tracer:
        constant(1000, 1000) + 1  # not made of the images
        assert tracer.largest == 0
        tracer.watch(shown)
        enlarged = F.interpolate(shown, scale_factor=4)  # 16 times as many
        assert tracer.largest == 17 * 1600
        enlarged + enlarged
        assert tracer.largest == 48 * 1600
        shown + 1
    assert tracer.largest == 48 * 1600


def test_tracing_changes_no_answer() -> None:
    for function in CASES.values():
        assert torch.equal(function(images()), traced(function, images())[0])
