"""Channel normalization against a loop over single numbers, at the ends of the range, and laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ephys.models import channel_norm
from ephys.models.channel_norm import PHIS, ChannelGroupNorm, group_size

PLAIN = {
    "square": lambda x: x * x,
    "relu": lambda x: max(x, 0.0),
    "softplus": lambda x: float(np.logaddexp(0, x)),
    "abs": abs,
    "exp": math.exp,
}


def layer_of(channels: int, **options: object) -> ChannelGroupNorm:
    """With parameters that differ from group to group, and a negative sigma."""
    layer = ChannelGroupNorm(channels, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.gamma.copy_(torch.linspace(-0.5, 0.8, layer.groups))
        layer.sigma.copy_(torch.linspace(-0.7, 1.2, layer.groups))
    return layer


def by_loop(x: Tensor, layer: ChannelGroupNorm) -> Tensor:
    y, phi = torch.empty_like(x), PLAIN[layer.phi]
    for b, c, *place in np.ndindex(*x.shape):
        group = c // layer.size
        members = range(group * layer.size, (group + 1) * layer.size)
        drive = sum(phi(x[(b, member, *place)].item()) for member in members)
        gain, sigma = math.exp(layer.gamma[group].item()), layer.sigma[group].item()
        y[(b, c, *place)] = gain * phi(x[(b, c, *place)].item()) / (drive + sigma**2)
    return y


def gradients(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """The response and what reaches the input and the parameters."""
    x = x.detach().requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], dy)]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("shape", [(3, 12), (2, 12, 5), (2, 12, 3, 4), (1, 12, 2, 1, 3)])
def test_every_number_is_that_of_a_plain_loop(phi: str, shape: tuple[int, ...]) -> None:
    layer, x = layer_of(12, size=4, phi=phi).double(), random(*shape)
    expected = by_loop(x, layer)
    torch.testing.assert_close(layer(x.requires_grad_()), expected, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("block", [1, 20, 10_000], ids=["group", "some groups", "all"])
def test_gradients_are_the_slopes(phi: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_norm, "BLOCK", block)
    layer, x = layer_of(8, size=2, phi=phi).double(), random(3, 8, 2, 2)

    def respond(x: Tensor, gamma: Tensor, sigma: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"gamma": gamma, "sigma": sigma}, (x,))

    operands = (x.requires_grad_(), layer.gamma, layer.sigma)
    assert torch.autograd.gradcheck(respond, operands)
    assert torch.autograd.gradgradcheck(respond, operands)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_quick_way_gives_what_the_careful_way_gives(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x, dy = layer_of(16).double(), scale * random(4, 16, 3, 3), random(4, 16, 3, 3, seed=1)
    quick = gradients(layer, x, dy)
    assert quick[0].grad_fn.phi is channel_norm.QUICK["square"]  # type: ignore[union-attr]
    monkeypatch.setattr(channel_norm, "QUICK", {})
    for ours, careful in zip(quick, gradients(layer, x, dy), strict=True):
        torch.testing.assert_close(
            ours, careful, rtol=1e-11, atol=1e-13 * careful.abs().max().item()
        )


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e19, 1e25, 3e38])
def test_squares_neither_overflow_nor_vanish(size: float, trained: bool) -> None:
    layer = ChannelGroupNorm(4, size=2, gain=0.0, sigma=0.0)
    x = torch.tensor([[1.0, 0.5, 0.5, 0.25]]) * size
    y = layer(x.requires_grad_(trained))
    torch.testing.assert_close(y, torch.tensor([[0.8, 0.2, 0.8, 0.2]]))
    if trained:
        # dy_i / dx_j x_j = 2 y_i (delta_ij - y_j / gain)
        (dx,) = torch.autograd.grad(y[0, 0], x)
        expected = torch.tensor([2 * 0.8 * 0.2, -2 * 0.8 * 0.2]).double() / size
        expected = expected / torch.tensor([1.0, 0.5])
        atol = torch.finfo(torch.float32).tiny  # below, float32 has fewer digits
        torch.testing.assert_close(dx[0, :2].double(), expected, rtol=1e-5, atol=atol)


def test_one_huge_image_leaves_the_others_as_they_are() -> None:
    layer = ChannelGroupNorm(8)
    x, dy = random(3, 8, 2, 2, dtype=torch.float32), random(3, 8, 2, 2, seed=1, dtype=torch.float32)
    alone = gradients(layer, x, dy)
    x[1] *= 1e25
    beside = gradients(layer, x, dy)
    for before, after in zip(alone[:2], beside[:2], strict=True):
        torch.testing.assert_close(before[[0, 2]], after[[0, 2]])
        assert after.isfinite().all()


@pytest.mark.parametrize("size", [-300.0, -100.0, 80.0, 1e4])
def test_exponentials_neither_overflow_nor_vanish(size: float) -> None:
    layer = ChannelGroupNorm(2, size=2, phi="exp", gain=0.0, sigma=0.0)
    x = torch.tensor([[size, size + math.log(3)]])
    y, dx, dgamma, dsigma = gradients(layer, x, torch.tensor([[1.0, 0.0]]))
    rtol = 2 * abs(size) * 1.2e-7 + 1e-6  # of x to begin with
    torch.testing.assert_close(y, torch.tensor([[0.25, 0.75]]), rtol=rtol, atol=0)
    torch.testing.assert_close(dx, torch.tensor([[0.1875, -0.1875]]), rtol=2 * rtol, atol=0)
    assert torch.tensor([dgamma, dsigma]).isfinite().all()


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("again", [False, True], ids=["gradients", "gradients of gradients"])
def test_without_sigma_gradients_are_finite(phi: str, again: bool) -> None:
    layer = ChannelGroupNorm(4, size=2, phi=phi, sigma=0.0)
    x = torch.tensor([[0.0, 0.0, 1.0, 0.0]], requires_grad=True)
    operands = [x, layer.gamma, layer.sigma]
    y = layer(x)
    if phi in ("square", "relu", "abs"):  # no drive is no response
        torch.testing.assert_close(y, torch.tensor([[0.0, 0.0, math.e, 0.0]]))
    dy = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    found = torch.autograd.grad(y, operands, dy, create_graph=again)
    assert all(gradient.isfinite().all() for gradient in found)
    if phi in ("square", "relu", "abs"):
        assert (found[0][0, :2] == 0).all()


@pytest.mark.parametrize("phi", PHIS)
def test_memory_formats_agree_and_are_kept(phi: str) -> None:
    layer, x, dy = layer_of(8, phi=phi).double(), random(3, 8, 4, 5), random(3, 8, 4, 5, seed=1)
    expected = gradients(layer, x, dy)
    last = torch.channels_last
    formats = {
        "channels last": (x.to(memory_format=last), dy),
        "channels last, gradient too": (x.to(memory_format=last), dy.to(memory_format=last)),
        "transposed": (x.mT.contiguous().mT, dy),
        "every other": (x.repeat_interleave(2, 3)[..., ::2], dy),
        "gradient of a sum": (x, dy),
    }
    for name, (input_, gradient) in formats.items():
        found = gradients(layer, input_, gradient)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, msg=name)
        for made in found[:2]:
            assert made.stride() == torch.empty_like(input_).stride(), name
    y = layer(x.requires_grad_())
    (dx,) = torch.autograd.grad(y.sum(), x)  # the gradient that arrives is one number, expanded
    torch.testing.assert_close(dx, gradients(layer, x, torch.ones_like(x))[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("phi", PHIS)
def test_half_precision_is_computed_in_single(dtype: torch.dtype, phi: str) -> None:
    layer = layer_of(16, phi=phi)
    x = (3 * random(4, 16, 3, 3)).to(dtype)
    dy = random(4, 16, 3, 3, seed=1).to(dtype)
    half, single = gradients(layer, x, dy), gradients(layer, x.float(), dy.float())
    for ours, exact in zip(half[:2], single[:2], strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, exact.to(dtype))
    for ours, exact in zip(half[2:], single[2:], strict=True):
        torch.testing.assert_close(ours, exact)


def test_squares_of_half_precision_do_not_overflow() -> None:
    x = torch.full((1, 8), 6e4, dtype=torch.float16).requires_grad_()
    y = ChannelGroupNorm(8, size=8, gain=0.0)(x)
    torch.testing.assert_close(y, torch.full_like(y, 1 / 8))


def test_it_trains_under_autocast() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3), ChannelGroupNorm(16), nn.Conv2d(16, 4, 3))
    with torch.autocast("cpu", torch.bfloat16):
        y = network(random(2, 3, 8, 8, dtype=torch.float32))
    y.float().square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 8, 3, 3), (2, 8, 0, 3), (0, 8)])
def test_of_nothing_there_is_nothing(shape: tuple[int, ...]) -> None:
    layer = ChannelGroupNorm(8)
    y, dx, dgamma, dsigma = gradients(layer, torch.empty(shape), torch.empty(shape))
    assert y.shape == dx.shape == shape
    assert (dgamma == 0).all()
    assert (dsigma == 0).all()
    assert layer(torch.empty(shape)).shape == shape


@given(seed=st.integers(0, 1000), phi=st.sampled_from([*PHIS]))
def test_channels_of_a_group_are_alike(seed: int, phi: str) -> None:
    layer, x = layer_of(12, size=4, phi=phi).double(), random(2, 12, 3, seed=seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    within = torch.cat([order, torch.arange(4, 12)])
    torch.testing.assert_close(layer(x[:, within]), layer(x)[:, within])


@given(seed=st.integers(0, 1000), contrast=st.floats(1e5, 1e15))
def test_high_contrast_leaves_the_share_of_the_group(seed: int, contrast: float) -> None:
    layer, x = layer_of(8, size=4).double(), random(2, 8, seed=seed)
    groups = x.view(2, 2, 4) ** 2
    shares = groups / groups.sum(2, keepdim=True)
    expected = (layer.gamma.exp().view(1, 2, 1) * shares).flatten(1)
    # What sigma^2 takes away is that part of the sum.
    taken = (layer.sigma**2).max().item() / (contrast**2 * groups.sum(2).min().item())
    torch.testing.assert_close(layer(contrast * x), expected, rtol=taken + 1e-12, atol=0)


@given(seed=st.integers(0, 1000))
def test_each_position_is_by_itself(seed: int) -> None:
    layer, x = layer_of(8).double(), random(2, 8, 3, 4, seed=seed)
    torch.testing.assert_close(layer(x)[:, :, 1, 2], layer(x[:, :, 1, 2]))


@pytest.mark.parametrize(
    ("channels", "size"),
    [(64, 8), (96, 8), (128, 8), (192, 8), (256, 16), (384, 16), (512, 16), (1, 1)],
)
def test_groups_are_as_large_as_the_authors(channels: int, size: int) -> None:
    layer = ChannelGroupNorm(channels)
    assert group_size(channels) == layer.size == size
    assert layer.gamma.shape == layer.sigma.shape == (channels // size,)
    assert group_size(channels, 1.0) == 2 ** (channels.bit_length() - 1)


def test_at_the_start_gain_is_e_and_sigma_one() -> None:
    y = ChannelGroupNorm(2, size=1)(torch.tensor([[2.0, -1.0]]))
    torch.testing.assert_close(y, math.e * torch.tensor([[4 / 5, 1 / 2]]))


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    assert y.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize("phi", PHIS)
def test_little_more_is_kept_than_by_group_norm(channels: int, phi: str) -> None:
    x = torch.randn(4, channels, 16, 16, requires_grad=True)
    layer = ChannelGroupNorm(channels, phi=phi)
    theirs = kept_bytes(nn.GroupNorm(layer.groups, channels), x)
    # The input, one number per group and position, and the parameters.
    assert kept_bytes(layer, x) <= (1 + 1 / layer.size) * theirs


def test_a_part_of_the_network_may_be_frozen() -> None:
    layer, x = layer_of(8).double(), random(2, 8)
    expected = gradients(layer, x, torch.ones_like(x))
    (dgamma, dsigma) = torch.autograd.grad(layer(x).sum(), [layer.gamma, layer.sigma])
    torch.testing.assert_close([dgamma, dsigma], expected[2:])
    layer.requires_grad_(False)
    x.requires_grad_()
    (dx,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    torch.testing.assert_close(dx, expected[1])
    assert dx.requires_grad


def test_what_cannot_be_normalized_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^channels=100 do not divide into groups of size=8;"):
        ChannelGroupNorm(100)
    with pytest.raises(ValueError, match=r"channels=8 .* size=0"):
        ChannelGroupNorm(8, size=0)
    with pytest.raises(ValueError, match="channels=0"):
        ChannelGroupNorm(0)
    with pytest.raises(ValueError, match="phi='cube' is none of square, relu"):
        ChannelGroupNorm(8, phi="cube")
    with pytest.raises(ValueError, match=r"power=1\.5"):
        group_size(8, 1.5)
    with pytest.raises(ValueError, match=r"\(2, 4, 3\) is not \(batch, 8 channels"):
        ChannelGroupNorm(8)(torch.zeros(2, 4, 3))
    with pytest.raises(TypeError, match="int64"):
        ChannelGroupNorm(8)(torch.zeros(2, 8, dtype=torch.int64))
