r"""CH-divnorm: divisive normalization by the channels of a group, each position by itself.

For channel :math:`i` of group :math:`p`, at one position of the map,

.. math::

    y_i = \frac{e^{\gamma_p} \varphi(x_i)}{\sum_{j \in p} \varphi(x_j) + \sigma_p^2}

with :math:`\gamma_p` and :math:`\sigma_p` learned, a pair per group. Groups are neighboring
channels, as many in each, and do not overlap. This is the layer of the ICLR 2025 submission
*CH-divnorm* (openreview.net, OovfCS4FYT) and of its code, where :math:`\varphi(x) = x^2`
(github.com/anonymoustech1234/Divisive_Normalization, commit d96bb47); other :math:`\varphi` were
asked for in its reviews.

A chain of PyTorch operations would hold several arrays of the input's size until the backward
pass. Here the input is kept and one number per group and position, and both passes go through the
input in blocks that stay in the processor's cache.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 2**19  # values taken at a time, two megabytes of float32
IN_RANGE = 1e20  # of scales between this and its inverse no square has left float32
CHANNEL = 2  # dimension of (batch, group, channel, ...)


class ChannelGroupNorm(nn.Module):
    """Divide each channel by the sum over its group: (batch, channel, ...) keeps its shape.

    The result has the input's type and memory format; half precision is computed in float32. Where
    the denominator is zero (no drive, and a sigma of 0) so are the response and all gradients.

    Parameters
    ----------
    channels : of the input.
    size : channels in a group; by default the authors', ``group_size(channels)``.
    phi : ``"square"``, ``"relu"``, ``"softplus"``, ``"abs"`` or ``"exp"``. No square of an input
        is too large or too small for its type, nor is an exponential; sums of the others are
        assumed to be in the type's range.
    gain : gamma at the start: responses are multiplied by *e to the power of* it.
    sigma : sigma at the start; squared before it is added.

    Attributes
    ----------
    gamma, sigma : parameters of shape (groups,).
    size, groups : channels in a group, and how many groups there are.

    Raises
    ------
    ValueError : for channels that do not divide into groups of that size, an unknown phi, an input
        of another number of channels.
    TypeError : for an input of whole or complex numbers.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: int | None = None,
        phi: str = "square",
        gain: float = 1.0,
        sigma: float = 1.0,
    ) -> None:
        super().__init__()
        size = group_size(channels) if size is None else size
        if size < 1 or channels < 1 or channels % size:
            raise ValueError(
                f"channels={channels} do not divide into groups of size={size}; give a size that "
                "divides them"
            )
        if phi not in PHIS:
            raise ValueError(f"phi={phi!r} is none of {', '.join(PHIS)}")
        self.channels, self.size, self.groups, self.phi = channels, size, channels // size, phi
        self.gamma = nn.Parameter(torch.full((self.groups,), float(gain)))
        self.sigma = nn.Parameter(torch.full((self.groups,), float(sigma)))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"input of shape {tuple(x.shape)} is not (batch, {self.channels} channels, ...)"
            )
        if not x.is_floating_point():
            raise TypeError(f"input of type {x.dtype} is not floating point; convert it")
        operands = (x, self.gamma, self.sigma)
        trained = torch.is_grad_enabled() and any(operand.requires_grad for operand in operands)
        if trained and not torch.compiler.is_compiling():
            y: Tensor = _Normalize.apply(*operands, self.phi)  # type: ignore[no-untyped-call]
            return y
        return _respond(*operands, self.phi)

    def extra_repr(self) -> str:
        return f"{self.channels}, size={self.size}, phi={self.phi}"


def group_size(channels: int, power: float = 0.5) -> int:
    """The authors' channels per group, 2^floor(power log2 C): 8 of 64 to 255, 16 of 256 to 1023.

    Raises
    ------
    ValueError : if there are no channels, or the power is not between 0 and 1.
    """
    if channels < 1 or not 0 <= power <= 1:
        raise ValueError(f"channels={channels}, power={power}: below 1, or not between 0 and 1")
    return int(2 ** math.floor(power * math.log2(channels)))


class _Phi(NamedTuple):
    """How a group is normalized, through a scale that stands for its denominator D and its gain.

    All take x of shape (batch, group, channel, ...) in float32 or better, and gamma and sigma that
    broadcast with it; a scale has one channel. They work in ``out`` where that is an array.
    """

    # of x, gamma, sigma, out: y and the scale
    respond: Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
    # of x, scale, dy, out: the sum of y dy over the group
    drawn: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    # of x, scale, out: exp(gamma) phi'(x) / D
    slope: Callable[[Tensor, Tensor, Tensor], Tensor]
    # of scale, gamma, sigma: sigma / D
    share: Callable[[Tensor, Tensor, Tensor], Tensor]


class _Normalize(torch.autograd.Function):
    r"""With :math:`t = \sum_j y_j \partial L / \partial y_j` over the group,

    .. math::

        \frac{\partial L}{\partial x_i} = e^\gamma \frac{\varphi'(x_i)}{D}
            \left(\frac{\partial L}{\partial y_i} - e^{-\gamma} t\right), \qquad
        \frac{\partial L}{\partial \gamma} = \sum t, \qquad
        \frac{\partial L}{\partial \sigma} = -2 \sum t \frac{\sigma}{D}.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, sigma: Tensor, name: str) -> Tensor:
        y, phi = torch.empty_like(x), PHIS[name]
        grouped, gain, semi_saturation = _grouped(x, gamma, sigma)
        scale = torch.empty_like(grouped.select(CHANNEL, 0), dtype=gain.dtype).unsqueeze(CHANNEL)

        def fill(phi: _Phi) -> None:
            for block, its, target, out in _blocks(grouped, y, gain.dtype):
                group = block[1:]
                _, scale[block] = phi.respond(its, gain[group], semi_saturation[group], out)
                if out is not target:
                    target.copy_(out)

        # To look at numbers is to wait for a GPU.
        quick = QUICK.get(name) if x.device.type == "cpu" and x.numel() else None
        if quick is not None:
            fill(quick)
            least, most = scale.aminmax()
            phi = quick if least > 1 / IN_RANGE and most < IN_RANGE else phi
        if phi is not quick:
            fill(phi)
        ctx.save_for_backward(x, scale, gamma, sigma)
        ctx.phi, ctx.named = phi, name
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, gamma, sigma = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of these gradients are wanted
            operands = (x, gamma, sigma)
            wanted = [operand for operand in operands if operand.requires_grad]
            y = _respond(*operands, ctx.named)
            found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
            return *(next(found) if o.requires_grad else None for o in operands), None
        phi: _Phi = ctx.phi
        dx, t = torch.empty_like(x), torch.empty_like(scale)
        grouped, gain, semi_saturation = _grouped(x, gamma, sigma)
        undo = _inverse(gain.exp())
        arriving = _by_group(dy, len(gamma))
        scratch: Tensor | None = None  # anew for each block would cost more than to fill it
        for block, its, target, out in _blocks(grouped, dx, gain.dtype):
            scratch = torch.empty_like(its) if scratch is None else scratch
            rest = scratch[: its.shape[0], : its.shape[1]]
            given = arriving[block].to(gain.dtype)
            t[block] = drawn = phi.drawn(its, scale[block], given, rest)
            torch.sub(given, drawn * undo[block[1:]], out=rest)
            phi.slope(its, scale[block], out).mul_(rest)
            if out is not target:
                target.copy_(out)
        dims = [d for d in range(t.dim()) if d != 1]
        dgamma = t.sum(dims)
        dsigma = t.mul_(phi.share(scale, gain, semi_saturation)).sum(dims).mul_(-2)
        return dx, dgamma.to(gamma.dtype), dsigma.to(sigma.dtype), None


def _respond(x: Tensor, gamma: Tensor, sigma: Tensor, name: str) -> Tensor:
    """The layer as a chain of operations, which a compiler or a tracer can follow."""
    grouped, gain, semi_saturation = _grouped(x, gamma, sigma)
    y, _ = PHIS[name].respond(grouped.to(gain.dtype), gain, semi_saturation, None)
    return y.flatten(1, CHANNEL).to(x.dtype)


def _grouped(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
    """x as (batch, group, channel, ...), and parameters (group, 1, ...) in float32 or better."""
    kind = torch.promote_types(x.dtype, torch.float32)
    shape = (-1, *[1] * (x.dim() - 1))
    return (
        _by_group(x, len(parameters[0])),
        *(parameter.to(kind).view(shape) for parameter in parameters),
    )


def _by_group(x: Tensor, groups: int) -> Tensor:
    batch, channels, *places = x.shape
    return x.view(batch, groups, channels // groups, *places)


def _blocks(
    grouped: Tensor, result: Tensor, dtype: torch.dtype
) -> Iterator[tuple[tuple[slice, slice], Tensor, Tensor, Tensor]]:
    """Where a block is, its input in ``dtype``, its place in the result and where to work.

    A block is a part of the batch, and of the groups where one image is large. A GPU takes all.
    """
    batch, groups = grouped.shape[:2]
    group = max(1, math.prod(grouped.shape[CHANNEL:]))
    room = BLOCK if grouped.device.type == "cpu" else max(1, grouped.numel())
    images = max(1, room // (group * groups))
    at_once = min(groups, max(1, room // group))
    targets = _by_group(result, groups)
    for image in range(0, batch, images):
        for first in range(0, groups, at_once):
            block = slice(image, image + images), slice(first, first + at_once)
            its, target = grouped[block].to(dtype), targets[block]
            yield block, its, target, target if target.dtype == dtype else torch.empty_like(its)


def _inverse(x: Tensor) -> Tensor:
    """1 / x, and 0 (as is its gradient) where there is too little to divide by."""
    return x.masked_fill(x < torch.finfo(x.dtype).tiny, math.inf).reciprocal()


def _log_square(sigma: Tensor) -> Tensor:
    """2 log |sigma|, of gradient 0 where sigma is."""
    return 2 * sigma.abs().masked_fill(sigma == 0, 0).log()


def _in_proportion(
    phi: Callable[[Tensor, Tensor | None], Tensor],
    slope: Callable[[Tensor, Tensor, Tensor], Tensor],
    inverse: Callable[[Tensor], Tensor] = _inverse,
) -> _Phi:
    """Of a phi whose sums are in range: the scale is exp(gamma) / D."""

    def respond(
        x: Tensor, gamma: Tensor, sigma: Tensor, out: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        drive = phi(x, out)
        scale = inverse(drive.sum(CHANNEL, keepdim=True) + sigma.square()) * gamma.exp()
        return torch.mul(drive, scale, out=out), scale

    return _Phi(
        respond,
        lambda x, scale, dy, out: phi(x, out).mul_(dy).sum(CHANNEL, keepdim=True).mul_(scale),
        slope,
        lambda scale, gamma, sigma: sigma * scale * _inverse(gamma.exp()),
    )


def _relative_squares(
    x: Tensor, gamma: Tensor, sigma: Tensor, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The scale is the root of exp(gamma) / D: found with squares relative to the largest."""
    largest = torch.maximum(x.detach().abs().amax(CHANNEL, keepdim=True), sigma.detach().abs())
    relative = _inverse(largest)
    squares = (x * relative).square().sum(CHANNEL, keepdim=True) + (sigma * relative).square()
    # Below 1 there is only 0, of nothing.
    scale = squares.clamp(min=0.5).rsqrt() * relative * (gamma / 2).exp()
    return torch.mul(x, scale, out=out).square_(), scale


def _exponentials(
    x: Tensor, gamma: Tensor, sigma: Tensor, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The scale is log D - gamma: found with exponentials relative to the largest."""
    largest = torch.maximum(x.amax(CHANNEL, keepdim=True), _log_square(sigma)).detach()
    total = torch.sub(x, largest, out=out).exp_().sum(CHANNEL, keepdim=True)
    total = total + (_log_square(sigma) - largest).exp()
    scale = total.log() + largest - gamma
    return torch.sub(x, scale, out=out).exp_(), scale


def _softplus(x: Tensor, out: Tensor | None) -> Tensor:
    y = F.softplus(x, threshold=40)  # from there on it is x, in float64 too
    return y if out is None else out.copy_(y)


PHIS = {
    "square": _Phi(
        _relative_squares,
        lambda x, scale, dy, out: (
            torch.mul(x, scale, out=out).square_().mul_(dy).sum(CHANNEL, keepdim=True)
        ),
        lambda x, scale, out: torch.mul(x, scale, out=out).mul_(2 * scale),
        lambda scale, gamma, sigma: sigma * scale * _inverse(gamma.exp()) * scale,
    ),
    "relu": _in_proportion(
        lambda x, out: torch.clamp(x, min=0, out=out),
        lambda x, scale, out: torch.gt(x, 0, out=out).mul_(scale),
    ),
    "softplus": _in_proportion(
        _softplus, lambda x, scale, out: torch.sigmoid(x, out=out).mul_(scale)
    ),
    "abs": _in_proportion(
        lambda x, out: torch.abs(x, out=out),
        lambda x, scale, out: torch.sign(x, out=out).mul_(scale),
    ),
    "exp": _Phi(
        _exponentials,
        lambda x, scale, dy, out: (
            torch.sub(x, scale, out=out).exp_().mul_(dy).sum(CHANNEL, keepdim=True)
        ),
        lambda x, scale, out: torch.sub(x, scale, out=out).exp_(),
        lambda scale, gamma, sigma: (_log_square(sigma) / 2 - scale - gamma).exp() * sigma.sign(),
    ),
}
# As fast as can be, for scales that are in range.
QUICK = {
    "square": _in_proportion(
        lambda x, out: torch.mul(x, x, out=out),
        lambda x, scale, out: torch.mul(x, 2 * scale, out=out),
        torch.reciprocal,
    )
}
