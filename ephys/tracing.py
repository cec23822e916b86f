"""Which pixels every element of every tensor sees, worked out operation by operation.

While a :class:`Tracer` is active, each operation that PyTorch runs is also carried out on what its
operands see. One rule serves many operations: most act on every element by itself, the others
slide a window, put elements together along dimensions, or move them around. An operation without
a rule makes its result unknown, and all that is made of it; nothing is guessed.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

NOTHING = -np.inf
HOME = 4
ROUNDING = 9  # decimals of a pixel
FINEST = 1000  # steps in a pixel


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what is made of images, from the call of ``watch`` on.

    Attributes
    ----------
    largest : bytes of the operands and results of the largest operation so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0
        self._sights: Any = WeakIdKeyDictionary()  # of what is made of the images; None is unknown
        self._written: set[StorageWeakRef | None] = set()  # memory that holds images since
        self._lost = False  # a value has left for Python, and what it steers is not seen

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """To say so saves the import of torch.compile's tracer, a second."""
        return False

    def watch(self, images: Tensor) -> None:
        """Every pixel of (batch, channel, y, x) sees itself."""
        rows, columns = images.shape[-2:]
        self._sights[images] = Sight(_pixels(rows, dim=2), _pixels(columns, dim=3))

    def sight(self, tensor: Tensor) -> "Sight | None":
        """What the elements of a tensor see; None if that is unknown."""
        sight = None if self._lost else self._sights.get(tensor)
        return sight and sight.settled()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        made_of = [t for t in operands if self._is_made_of_images(t)]
        if not made_of:
            return result
        name = func._schema.name.removeprefix("aten::")
        given = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        self._lost = self._lost or _leaves_for_python(func, given, made_of)
        self.largest = max(self.largest, sum(t.nbytes for t in (*made_of, *results)))
        if name in SEES_NOTHING:
            return result
        sights: Sights = [None] * len(results)
        if not self._lost and all(self._sights[t] is not None for t in made_of):
            with suppress(_NoRuleError):
                sights = _rule(func, name)(_Call(given, results, self._sights))
        for tensor in _written(func, given):
            now = [sight for t, sight in zip(results, sights, strict=True) if t is tensor]
            self._write(tensor, now[0] if now else None)
        self._sights.update(zip(results, sights, strict=True))
        return result

    def _is_made_of_images(self, tensor: Tensor) -> bool:
        if tensor not in self._sights and self._written:
            if _memory(tensor) not in self._written:
                return False
            self._sights[tensor] = None
        return tensor in self._sights

    def _write(self, written: Tensor, sight: "Sight | None") -> None:
        """What shares memory with a tensor that was written to has changed with it."""
        before = self._sights.get(written)
        if before is not None and sight is not None and before.is_like(sight):
            return
        memory, base = _memory(written), written._base
        self._written |= {memory}
        for other in [*self._sights, *([] if base is None else [base])]:
            if _memory(other) == memory:
                self._sights[other] = sight if _is_laid_out_like(other, written) else None
        self._sights[written] = sight


@dataclass(frozen=True)
class Seen:
    """What the elements of a tensor see of one axis of the image: of its rows, or its columns.

    ``parts`` has five layers of the tensor's dimensions, of length 1 where all elements see the
    same: minus the first pixel seen; the last; whether padding is seen beyond the low end, and
    beyond the high end; and the pixel that an element stands above, its home: the middle of what
    it would see of an image without borders, NaN for one that stands nowhere. Several elements
    together see the largest of the first four.
    """

    parts: np.ndarray

    def __or__(self, other: "Seen") -> "Seen":
        """What elements see that are made of one of each, broadcast as tensors are.

        They stand where the operand's do that tells more positions apart.
        """
        n = max(self.parts.ndim, other.parts.ndim) - 1
        a, b = (_with_dimensions(seen.parts, n) for seen in (self, other))
        extent = np.maximum(a[:HOME], b[:HOME])
        apart, together = (a, b) if a[HOME].size >= b[HOME].size else (b, a)
        home = together[HOME] if np.isnan(apart[HOME]).all() else apart[HOME]
        return Seen(np.concatenate([extent, np.broadcast_to(home, (1, *extent.shape[1:]))]))

    def standing_like(self, other: "Seen") -> "Seen":
        home = np.broadcast_to(other.parts[HOME:], (1, *self.parts.shape[1:]))
        return Seen(np.concatenate([self.parts[:HOME], home]))

    def unless_blind(self, other: "Seen") -> "Seen":
        """Nothing for the elements that see nothing of the other axis."""
        blind = other.parts[1] == NOTHING
        if not blind.any():
            return self
        extent = np.where(blind, NOTHING, self.parts[:HOME])
        home = np.broadcast_to(self.parts[HOME:], (1, *extent.shape[1:]))
        return Seen(np.concatenate([extent, home]))

    def varies(self, dim: int) -> bool:
        return self.parts.shape[dim + 1] > 1

    def together(self, dims: Iterable[int], *, stay: bool = False) -> "Seen":
        """Elements along some dimensions as one; or all still there, each seeing what all see."""
        axes = tuple(dim + 1 for dim in dims if self.varies(dim))
        if not axes:
            return self
        extent = self.parts[:HOME].max(axes, keepdims=True)
        home = self.parts[HOME:]
        if not stay:
            return Seen(np.concatenate([extent, _nanmean(home, axes)]))
        return Seen(np.concatenate([np.broadcast_to(extent, (HOME, *home.shape[1:])), home]))

    def windows(
        self, dim: int, taken: np.ndarray, at: np.ndarray | None = None, count: int = 0
    ) -> "Seen":
        """Elements that each take several of a dimension.

        ``taken`` are their indices, (element, several); those beyond an end are padding, and NaN
        is nothing. ``at`` is the fractional index where each stands, by default the middle of what
        it takes.
        """
        if not self.varies(dim):
            return self
        parts = np.moveaxis(self.parts, dim + 1, -1)
        count = count or parts.shape[-1]
        below, above = taken < 0, taken >= count
        there = ~(below | above | np.isnan(taken))
        extent = parts[:HOME][..., np.where(there, taken, 0).astype(int)]
        extent = np.where(there, extent, NOTHING).max(-1)
        extent[2] = np.maximum(extent[2], below.any(-1))
        extent[3] = np.maximum(extent[3], above.any(-1))
        if at is None:
            at = (taken.min(-1) + taken.max(-1)) / 2
        before = np.floor(at).astype(int).clip(0, parts.shape[-1] - 2)
        home, step = parts[HOME][..., before], np.diff(parts[HOME])[..., before]
        exact = at == before  # or a neighbour that stands nowhere would make it NaN
        home = np.where(exact, home, home + np.where(exact, 0, step) * (at - before))
        parts = np.moveaxis(np.concatenate([extent, home[None]]), -1, dim + 1)
        return Seen(_without_repeats(parts, dim + 1))

    def take(self, dim: int, indices: np.ndarray) -> "Seen":
        return self.windows(dim, indices[:, None], indices)

    def beside(self, dim: int, taken: np.ndarray, at: np.ndarray | None, count: int) -> "Seen":
        """As ``windows``, where neither rows nor columns vary along the dimension.

        It may be the one along which this axis of the image lies, with a single element, beside
        which it is not known where others would stand.
        """
        n = self.parts.ndim - 1
        homes = self.parts[HOME][~np.isnan(self.parts[HOME])]
        if count == 1 and (homes == homes[:1]).all():
            next_one = self.parts.copy()
            next_one[HOME] = np.nan
            both = Seen(np.concatenate([self.parts, next_one], axis=dim + 1))
            return both.windows(dim, taken, at, count)
        seeing = np.any((taken >= 0) & (taken < count), axis=-1)
        shape = [len(seeing) if d == dim else 1 for d in range(n)]
        only = np.where(seeing.reshape(shape), self.parts, _nothing(n))
        return self if seeing.all() else Seen(only)

    def with_dimensions(self, n: int) -> "Seen":
        """As one of n dimensions, those that are new in front."""
        return Seen(_with_dimensions(self.parts, n))

    def moved(self, order: Sequence[int]) -> "Seen":
        return Seen(self.parts.transpose(0, *(dim + 1 for dim in order)))

    def reshaped(self, old: Sequence[int], new: Sequence[int]) -> "Seen":
        """Of a tensor of shape ``old`` that is given the shape ``new``."""
        full, given = [], []
        for before, after in _regroup(old, new):
            varies = any(self.parts.shape[dim + 1] > 1 for dim in before)
            full += [old[dim] if varies else 1 for dim in before]
            given += [new[dim] if varies else 1 for dim in after]
        parts = np.broadcast_to(self.parts, (HOME + 1, *full)).reshape(HOME + 1, *given)
        for axis in range(1, parts.ndim):
            parts = _without_repeats(parts, axis)
        return Seen(parts)

    def spacing(self, dim: int) -> int:
        """The fewest pixels that are a whole number of steps from one home to the next."""
        steps = np.abs(np.diff(self.parts[HOME], axis=dim))
        steps = steps[steps > 0].round(ROUNDING)
        return Fraction(steps.min()).limit_denominator(FINEST).numerator if steps.any() else 1


@dataclass(frozen=True)
class Sight:
    """What the elements of a tensor see of the image's rows and of its columns.

    Parameters
    ----------
    align : (vertical, horizontal) pixels by which an image can be moved with every grid on the
        way falling on itself.
    anchored : whether numbers that differ from place to place were mixed in, so that the same
        image elsewhere would be answered otherwise.
    """

    rows: Seen
    columns: Seen
    align: tuple[int, int] = (1, 1)
    anchored: bool = False

    def each(self, change: Callable[..., Seen], *how: Any, **options: Any) -> "Sight":
        """Both axes changed alike, by a method of :class:`Seen`."""
        rows, columns = (change(seen, *how, **options) for seen in (self.rows, self.columns))
        return replace(self, rows=rows, columns=columns)

    def varies(self, dim: int) -> bool:
        return self.rows.varies(dim) or self.columns.varies(dim)

    def is_like(self, other: "Sight") -> bool:
        return (self.align, self.anchored) == (other.align, other.anchored) and all(
            np.array_equal(mine.parts, its.parts, equal_nan=True)
            for mine, its in [(self.rows, other.rows), (self.columns, other.columns)]
        )

    def slid(
        self, dim: int, count: int, taken: np.ndarray, at: np.ndarray | None = None
    ) -> "Sight":
        """By windows along a dimension of length ``count``, see :meth:`Seen.windows`."""
        if not self.varies(dim):
            return self.each(Seen.beside, dim, taken, at, count)
        slid = self.each(Seen.windows, dim, taken, at)
        y, x = slid.align
        align = (math.lcm(y, slid.rows.spacing(dim)), math.lcm(x, slid.columns.spacing(dim)))
        return replace(slid, align=align)

    def standing_like(self, other: "Sight") -> "Sight":
        """With the homes of another."""
        rows, columns = (
            mine.standing_like(its)
            for mine, its in [(self.rows, other.rows), (self.columns, other.columns)]
        )
        return replace(self, rows=rows, columns=columns)

    def settled(self) -> "Sight":
        """Where an element sees none of the rows it sees no columns either, and the reverse."""
        rows, columns = self.rows.unless_blind(self.columns), self.columns.unless_blind(self.rows)
        return replace(self, rows=rows, columns=columns)

    def __or__(self, other: "Sight") -> "Sight":
        (a, b), (c, d) = self.align, other.align
        mine, its = self.settled(), other.settled()
        return Sight(
            mine.rows | its.rows,
            mine.columns | its.columns,
            (math.lcm(a, c), math.lcm(b, d)),
            self.anchored or other.anchored,
        )


class _Call:
    """An operation's arguments by name, with its results, and what its operands see."""

    def __init__(self, given: dict[str, Any], results: list[Tensor], sights: Any) -> None:
        self.given, self.results, self._sights = given, results, sights

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def get(self, name: str, default: Any = None) -> Any:
        value = self.given.get(name)
        return default if value is None else value

    @property
    def shape(self) -> torch.Size:
        """Of the first result."""
        return self.results[0].shape

    def sight(self, tensor: Any) -> Sight | None:
        """None for what is not made of the images."""
        return self._sights.get(tensor) if isinstance(tensor, Tensor) else None

    @property
    def first(self) -> tuple[Tensor, Sight]:
        """The first argument and what it sees; a rule for it alone has no other to mind."""
        tensor = next(iter(self.given.values()))
        others = tree_leaves(list(self.given.values())[1:])
        sight = self.sight(tensor)
        if sight is None or any(self.sight(other) is not None for other in others):
            raise _NoRuleError
        return tensor, sight

    def dims(self, names: Any, tensor: Tensor) -> list[int]:
        """Dimensions as an operation takes them: one, some, or by None all."""
        if names is None or names == []:
            return list(range(tensor.ndim))
        return [dim % tensor.ndim for dim in ([names] if isinstance(names, int) else names)]

    def all_results(self, sight: Sight) -> list[Sight | None]:
        return [sight] * len(self.results)


class _NoRuleError(Exception):
    """No rule knows the operation, or this way to use it."""


Sights = list[Sight | None]
Rule = Callable[[_Call], Sights]


def _rule(func: Any, name: str) -> Rule:
    reshaped_in_place = torch.Tag.inplace_view in func.tags and name != "as_strided_"
    if reshaped_in_place or any(argument.is_out for argument in func._schema.arguments):
        raise _NoRuleError
    in_place = func._schema.is_mutable and name.endswith("_")
    known = RULES.get(name.removesuffix("_") if in_place else name)
    if known is None and torch.Tag.pointwise in func.tags:
        return _pointwise
    if known is None:
        raise _NoRuleError
    return known


def _pointwise(call: _Call) -> Sights:
    """Every element by itself, of operands that are broadcast."""
    operands = [leaf for leaf in tree_leaves(call.given) if isinstance(leaf, Tensor)]
    if any(_masks(leaf) for leaf in tree_leaves(call.given) if call.sight(leaf) is None):
        raise _NoRuleError
    n = len(call.shape)
    sights = [
        sight.each(Seen.with_dimensions, n)
        for sight in map(call.sight, operands)
        if sight is not None
    ]
    merged = sights[0]
    for sight in sights[1:]:
        merged = merged | sight
    for operand in operands:
        if call.sight(operand) is None:
            merged = _anchored_by(operand, merged, range(n - operand.ndim, n))
    return call.all_results(merged)


def _anchored_by(constant: Tensor, sight: Sight, dims: Iterable[int]) -> Sight:
    """Whether a constant that meets a tensor along ``dims`` differs where that sees different."""
    differs = any(
        size > 1 and sight.varies(dim) for dim, size in zip(dims, constant.shape, strict=True)
    )
    return replace(sight, anchored=sight.anchored or differs)


def _masks(constant: Any) -> bool:
    """Whether minus infinity hides some of a tensor: what is left of it then is not told."""
    if isinstance(constant, Tensor):
        return constant.is_floating_point() and bool(torch.isneginf(constant).any())
    return isinstance(constant, float) and constant == -math.inf


def _same(call: _Call) -> Sights:
    return call.all_results(call.first[1])


def _copied(call: _Call) -> Sights:
    """What was there before is overwritten."""
    source, n = call.sight(call["src"]), len(call.shape)
    if source is None:
        raise _NoRuleError
    return [source.each(Seen.with_dimensions, n)]


def _convolution(call: _Call) -> Sights:
    tensor, sight = call.first
    kernel = call["weight"].shape[2:]
    options = [call[name] for name in ("stride", "padding", "dilation")]
    sight = sight.each(Seen.together, [1])
    slide = _transposed_window if call["transposed"] else _window
    for dim, size, stride, padding, dilation in zip(
        range(2, len(call.shape)), kernel, *(_per_dim(o, len(kernel)) for o in options), strict=True
    ):
        taken = slide(call.shape[dim], size, stride, padding, dilation)
        sight = sight.slid(dim, tensor.shape[dim], *taken)
    return [sight]


def _pool(call: _Call) -> Sights:
    tensor, sight = call.first
    kernel = call["kernel_size"]
    n = len(kernel)
    stride = call.get("stride") or kernel
    options = (kernel, stride, call.get("padding", 0), call.get("dilation", 1))
    for dim, *window in zip(
        range(tensor.ndim - n, tensor.ndim), *(_per_dim(o, n) for o in options), strict=True
    ):
        sight = sight.slid(dim, tensor.shape[dim], *_window(call.shape[dim], *window))
    return call.all_results(sight)


def _adaptive_pool(call: _Call) -> Sights:
    tensor, sight = call.first
    n = len(call["output_size"])
    for dim in range(tensor.ndim - n, tensor.ndim):
        count, out = tensor.shape[dim], call.shape[dim]
        i = np.arange(out)
        start, stop = i * count // out, -(-(i + 1) * count // out)
        taken = start[:, None] + np.arange((stop - start).max())
        sight = sight.slid(dim, count, np.minimum(taken, stop[:, None] - 1))
    return call.all_results(sight)


def _upsample(reach: Callable[[np.ndarray, float], np.ndarray]) -> Rule:
    """``reach`` makes of fractional indices of the source, and the ratio, the indices taken."""

    def rule(call: _Call) -> Sights:
        tensor, sight = call.first
        n = tensor.ndim - 2
        named = [call.get(name) for name in ("scales_d", "scales_h", "scales_w")[-n:]]
        scales = call.get("scale_factors") or ([call.get("scales")] if n == 1 else named)
        for dim, scale in zip(range(2, tensor.ndim), scales, strict=True):
            count, i = tensor.shape[dim], np.arange(call.shape[dim])
            ratio = 1 / scale if scale else count / len(i)
            at = (i + 0.5) * ratio - 0.5
            if call.get("align_corners", False):
                at = i * (count - 1) / max(len(i) - 1, 1)
            sight = sight.slid(dim, count, reach(at, ratio), at)
        return [sight]

    return rule


def _nearest(at: np.ndarray, ratio: float) -> np.ndarray:
    return np.floor(at + 0.5 - 0.5 * ratio + 1e-9).astype(int)[:, None]


def _nearest_exact(at: np.ndarray, ratio: float) -> np.ndarray:
    return np.floor(at + 0.5 + 1e-9).astype(int)[:, None]


def _linear(at: np.ndarray, ratio: float) -> np.ndarray:
    return np.stack([np.floor(at), np.ceil(at)], axis=1).astype(int)


def _cubic(at: np.ndarray, ratio: float) -> np.ndarray:
    reach = np.where((at == np.floor(at))[:, None], 0, np.arange(-1, 3))
    return (np.floor(at)[:, None] + reach).astype(int)


def _zero_pad(call: _Call) -> Sights:
    return _padded(call, lambda i, count: i[:, None])


def _reflection_pad(call: _Call) -> Sights:
    def taken(i: np.ndarray, count: int) -> np.ndarray:
        return np.stack([i, (count - 1) - np.abs((count - 1) - np.abs(i))], axis=1)

    return _padded(call, taken)


def _replication_pad(call: _Call) -> Sights:
    return _padded(call, lambda i, count: np.stack([i, i.clip(0, count - 1)], axis=1))


def _padded(call: _Call, taken: Callable[[np.ndarray, int], np.ndarray]) -> Sights:
    tensor, sight = call.first
    pad = call.get("pad") or call["padding"]
    for k in range(len(pad) // 2):
        dim = tensor.ndim - 1 - k
        count = tensor.shape[dim]
        i = np.arange(call.shape[dim]) - pad[2 * k]
        sight = sight.slid(dim, count, taken(i, count), i)
    return [sight]


def _slice(call: _Call) -> Sights:
    tensor, sight = call.first
    dim = call.get("dim", 0) % tensor.ndim
    which = slice(call.get("start"), call.get("end"), call.get("step", 1))
    indices = np.arange(tensor.shape[dim])[which]
    return [sight.slid(dim, tensor.shape[dim], indices[:, None], indices)]


def _select(call: _Call) -> Sights:
    tensor, sight = call.first
    dim, index = call["dim"] % tensor.ndim, call["index"]
    chosen = np.array([index % tensor.shape[dim]])
    old = [*tensor.shape[:dim], 1, *tensor.shape[dim + 1 :]]
    return [sight.each(Seen.take, dim, chosen).each(Seen.reshaped, old, call.shape)]


def _index_select(call: _Call) -> Sights:
    tensor, sight = call.first
    return [_by_index(tensor, sight, call["dim"] % tensor.ndim, call["index"])]


def _index(call: _Call) -> Sights:
    tensor, sight = call.first
    chosen = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(chosen) != 1 or chosen[0][1].ndim != 1 or chosen[0][1].dtype == torch.bool:
        raise _NoRuleError
    return [_by_index(tensor, sight, *chosen[0])]


def _by_index(tensor: Tensor, sight: Sight, dim: int, index: Tensor) -> Sight:
    indices = index.cpu().numpy() % tensor.shape[dim]  # from the end, if negative
    return sight.each(Seen.take, dim, indices)


def _split(call: _Call) -> Sights:
    tensor, sight = call.first
    dim = call.get("dim", 0) % tensor.ndim
    sizes = [result.shape[dim] for result in call.results]
    starts = accumulate(sizes, initial=0)
    return [
        sight.slid(dim, tensor.shape[dim], np.arange(start, start + size)[:, None])
        for start, size in zip(starts, sizes, strict=False)
    ]


def _unbind(call: _Call) -> Sights:
    tensor, sight = call.first
    dim = call.get("dim", 0) % tensor.ndim
    old = [*tensor.shape[:dim], 1, *tensor.shape[dim + 1 :]]
    return [
        sight.each(Seen.take, dim, np.array([k])).each(Seen.reshaped, old, call.shape)
        for k in range(len(call.results))
    ]


def _flip(call: _Call) -> Sights:
    tensor, sight = call.first
    for dim in call.dims(call["dims"], tensor):
        indices = np.arange(tensor.shape[dim])[::-1]
        sight = replace(sight, anchored=sight.anchored or sight.varies(dim))
        sight = sight.each(Seen.take, dim, indices)
    return [sight]


def _roll(call: _Call) -> Sights:
    """What comes around from the other end counts as padding, which it stands in place of."""
    tensor, sight = call.first
    if not call.get("dims"):
        raise _NoRuleError
    for dim, shift in zip(call.dims(call["dims"], tensor), call["shifts"], strict=True):
        count = tensor.shape[dim]
        i = np.arange(count) - shift
        taken = np.stack([i % count, i], axis=1)
        sight = sight.each(Seen.windows, dim, taken, taken[:, 0])
    return [sight]


def _concatenate(call: _Call) -> Sights:
    tensors = call["tensors"]
    dim = call.get("dim", 0) % tensors[0].ndim
    merged = _joined(tensors, call)
    if not any(s is not None and s.varies(dim) for s in map(call.sight, tensors)):
        return [merged]  # along channels, say, which are told apart no further
    sides = []
    for side in ("rows", "columns"):
        pieces = []
        for tensor in tensors:
            sight = call.sight(tensor)
            parts = getattr(sight, side).parts if sight else _nothing(tensor.ndim)
            along = np.repeat(parts, tensor.shape[dim] // parts.shape[dim + 1], axis=dim + 1)
            pieces.append(along)
        shape = np.broadcast_shapes(
            *((*p.shape[: dim + 1], 1, *p.shape[dim + 2 :]) for p in pieces)
        )
        wide = [
            np.broadcast_to(p, (*shape[: dim + 1], p.shape[dim + 1], *shape[dim + 2 :]))
            for p in pieces
        ]
        sides.append(Seen(np.concatenate(wide, axis=dim + 1)))
    return [replace(merged, rows=sides[0], columns=sides[1], anchored=True)]


def _stack(call: _Call) -> Sights:
    """The dimension that is new tells nothing apart."""
    dim = call.get("dim", 0) % len(call.shape)
    merged = _joined(call["tensors"], call)
    old = call["tensors"][0].shape
    return [merged.each(Seen.reshaped, old, [*old[:dim], 1, *old[dim:]])]


def _joined(tensors: Sequence[Tensor], call: _Call) -> Sight:
    """What tensors of the same dimensions see together."""
    merged = _merged(map(call.sight, tensors))
    for tensor in tensors:
        if call.sight(tensor) is None:
            merged = _anchored_by(tensor, merged, range(tensor.ndim))
    return merged


def _merged(sights: Iterable[Sight | None]) -> Sight:
    known = [sight for sight in sights if sight is not None]
    if not known:
        raise _NoRuleError
    merged = known[0]
    for sight in known[1:]:
        merged = merged | sight
    return merged


def _permute(call: _Call) -> Sights:
    tensor, sight = call.first
    return [sight.each(Seen.moved, call.dims(call["dims"], tensor))]


def _transpose(call: _Call) -> Sights:
    tensor, sight = call.first
    order = list(range(tensor.ndim))
    if tensor.ndim >= 2:
        a, b = call.get("dim0", 0) % tensor.ndim, call.get("dim1", 1) % tensor.ndim
        order[a], order[b] = order[b], order[a]
    return [sight.each(Seen.moved, order)]


def _reshape(call: _Call) -> Sights:
    tensor, sight = call.first
    return [sight.each(Seen.reshaped, tensor.shape, call.shape)]


def _as_strided(call: _Call) -> Sights:
    """Only where nothing can move: all elements see the same, and there are as many as before."""
    tensor, sight = call.first
    offset = tensor.storage_offset()
    if list(call["size"]) != list(tensor.shape) or call.get("storage_offset", offset) != offset:
        raise _NoRuleError
    if any(map(sight.varies, range(tensor.ndim))):
        raise _NoRuleError
    return [sight]


def _expand(call: _Call) -> Sights:
    n = len(call.shape)
    return [call.first[1].each(Seen.with_dimensions, n)]


def _repeat(call: _Call) -> Sights:
    tensor, sight = call.first
    n = len(call.shape)
    shape = (1,) * (n - tensor.ndim) + tensor.shape
    sight = sight.each(Seen.with_dimensions, n)
    for dim, times in enumerate(call["repeats"]):
        if times > 1 and sight.varies(dim):
            sight = sight.each(Seen.take, dim, np.tile(np.arange(shape[dim]), times))
    return [sight]


def _reduction(call: _Call) -> Sights:
    tensor, sight = call.first
    dims = call.dims(call.get("dim"), tensor)
    kept = [1 if dim in dims else size for dim, size in enumerate(tensor.shape)]
    sight = sight.each(Seen.together, dims).each(Seen.reshaped, kept, call.shape)
    return call.all_results(sight)


def _normalization(dims: Callable[[_Call, Tensor], Iterable[int]]) -> Rule:
    """Every element stays, and sees all that it is normalized with."""

    def rule(call: _Call) -> Sights:
        tensor, sight = call.first
        mixed = sight.each(Seen.together, dims(call, tensor), stay=True)
        return [mixed, *[None] * (len(call.results) - 1)]

    return rule


def _batch_norm_dims(call: _Call, tensor: Tensor) -> list[int]:
    """None with stored statistics; with those of the batch, all but the channels."""
    return [dim for dim in range(tensor.ndim) if dim != 1] if call.get("training") else []


def _layer_norm_dims(call: _Call, tensor: Tensor) -> range:
    return range(tensor.ndim - len(call["normalized_shape"]), tensor.ndim)


def _softmax_dims(call: _Call, tensor: Tensor) -> list[int]:
    return call.dims(call["dim"], tensor)


def _product(a: str, b: str) -> Rule:
    """Of matrices, (..., i, j) and (..., j, k), with perhaps a third that is added.

    Elements stand where the rows of the first matrix do, queries say, if it tells rows apart.
    """

    def rule(call: _Call) -> Sights:
        sights = [] if a == "self" else [call.sight(call["self"])]
        for factor, other, summed in ((call[a], call[b], -1), (call[b], call[a], -2)):
            sight, dim = call.sight(factor), factor.ndim + summed
            if sight is None:
                continue
            if call.sight(other) is None and sight.varies(dim):
                sight = replace(sight, anchored=True)
            sights.append(sight.each(Seen.together, [dim]))
        n = len(call.shape)
        merged = _merged(s and s.each(Seen.with_dimensions, n) for s in sights)
        if (first := call.sight(call[a])) is not None and first.varies(n - 2):
            merged = merged.standing_like(first.each(Seen.together, [n - 1]))
        added = call["self"]
        if a != "self" and call.sight(added) is None:
            merged = _anchored_by(added, merged, range(n - added.ndim, n))
        return [merged]

    return rule


def _attention(call: _Call) -> Sights:
    """Every query stays where it is, and sees what all keys and values see."""
    query, others = call["query"], (call["key"], call["value"])
    mask = call.get("attn_mask", call.get("attn_bias"))
    if call.get("is_causal") or call.sight(mask) is not None or _masks(mask):
        raise _NoRuleError
    sights = []
    if (sight := call.sight(query)) is not None:
        sights.append(sight.each(Seen.together, [query.ndim - 1]))
    for other in others:
        if (sight := call.sight(other)) is not None:
            sights.append(sight.each(Seen.together, [other.ndim - 2, other.ndim - 1]))
    merged = _merged(sights)
    if mask is not None:
        merged = replace(merged, anchored=True)
    return [merged, *[None] * (len(call.results) - 1)]


def _pixel_shuffle(call: _Call) -> Sights:
    tensor, sight = call.first
    sight = sight.each(Seen.together, [tensor.ndim - 3])
    for dim in (tensor.ndim - 2, tensor.ndim - 1):
        i = np.arange(call.shape[dim])
        factor = call["upscale_factor"]
        at = (i + 0.5) / factor - 0.5
        sight = sight.slid(dim, tensor.shape[dim], (i // factor)[:, None], at)
    return [sight]


def _pixel_unshuffle(call: _Call) -> Sights:
    tensor, sight = call.first
    sight = sight.each(Seen.together, [tensor.ndim - 3])
    factor = call["downscale_factor"]
    for dim in (tensor.ndim - 2, tensor.ndim - 1):
        i = np.arange(call.shape[dim])
        sight = sight.slid(dim, tensor.shape[dim], i[:, None] * factor + np.arange(factor))
    return [sight]


def _glu(call: _Call) -> Sights:
    tensor, sight = call.first
    dim = call.get("dim", -1) % tensor.ndim
    if sight.varies(dim):
        raise _NoRuleError
    return [sight]


def _channel_shuffle(call: _Call) -> Sights:
    return [call.first[1].each(Seen.together, [1])]


LEAVES_FOR_PYTHON = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
SEES_NOTHING = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
}
BY_RULE: dict[Rule, tuple[str, ...]] = {
    _same: (
        *("clone", "detach", "alias", "_to_copy", "contiguous", "native_dropout", "lift_fresh"),
    ),
    _pointwise: (
        *("_prelu_kernel", "hardswish", "hardsigmoid", "hardtanh", "mish", "log_sigmoid_forward"),
    ),
    _copied: ("copy",),
    _convolution: ("convolution",),
    _pool: (
        *("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool2d", "max_pool1d"),
        *("avg_pool1d", "avg_pool2d", "avg_pool3d"),
    ),
    _adaptive_pool: (
        *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d"),
        *("adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    ),
    _upsample(_nearest): ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"),
    _upsample(_nearest_exact): (
        *("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d"),
    ),
    _upsample(_linear): ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"),
    _upsample(_cubic): ("upsample_bicubic2d",),
    _zero_pad: ("constant_pad_nd",),
    _reflection_pad: ("reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
    _replication_pad: ("replication_pad1d", "replication_pad2d", "replication_pad3d"),
    _slice: ("slice",),
    _select: ("select",),
    _index: ("index",),
    _index_select: ("index_select",),
    _split: ("split", "split_with_sizes"),
    _unbind: ("unbind",),
    _flip: ("flip",),
    _roll: ("roll",),
    _concatenate: ("cat",),
    _stack: ("stack",),
    _permute: ("permute",),
    _transpose: ("transpose", "t"),
    _reshape: (
        *("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten"),
        *("squeeze", "unsqueeze"),
    ),
    _as_strided: ("as_strided",),
    _expand: ("expand",),
    _repeat: ("repeat",),
    _reduction: (
        *("mean", "sum", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "any", "all"),
        *("var", "std", "var_mean", "std_mean", "logsumexp", "norm", "linalg_vector_norm"),
    ),
    _normalization(_softmax_dims): ("_softmax", "_log_softmax", "_safe_softmax"),
    _normalization(_layer_norm_dims): ("native_layer_norm", "_fused_rms_norm"),
    _normalization(lambda call, tensor: range(1, tensor.ndim)): ("native_group_norm",),
    _normalization(_batch_norm_dims): (
        *("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
        *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    ),
    _product("self", "mat2"): ("mm", "bmm"),
    _product("mat1", "mat2"): ("addmm",),
    _product("batch1", "batch2"): ("baddbmm",),
    _attention: (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
    ),
    _pixel_shuffle: ("pixel_shuffle",),
    _pixel_unshuffle: ("pixel_unshuffle",),
    _glu: ("glu",),
    _channel_shuffle: ("channel_shuffle", "native_channel_shuffle"),
}
RULES = {name: rule for rule, names in BY_RULE.items() for name in names}


def _leaves_for_python(func: Any, given: dict[str, Any], made_of: list[Tensor]) -> bool:
    """Whether what images hold comes out of the tensors, as a number or as a shape."""
    if not LEAVES_FOR_PYTHON & set(func.tags):
        return False
    telling = tree_leaves(given.get("indices", given))  # of an index the mask, not what it is of
    return any(tensor is other for tensor in made_of for other in telling)


def _written(func: Any, given: dict[str, Any]) -> list[Tensor]:
    """The operands that an operation changes."""
    changed = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    leaves = tree_leaves([given.get(name) for name in changed])
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> StorageWeakRef | None:
    """Equal for tensors that share it; a sparse tensor has none to share."""
    if tensor.layout is not torch.strided:
        return None
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _is_laid_out_like(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.stride(), a.storage_offset()) == (b.shape, b.stride(), b.storage_offset())


def _window(
    out: int, size: int, stride: int, padding: int, dilation: int
) -> tuple[np.ndarray, None]:
    """What each of ``out`` windows takes."""
    return np.arange(out)[:, None] * stride - padding + dilation * np.arange(size), None


def _transposed_window(
    out: int, size: int, stride: int, padding: int, dilation: int
) -> tuple[np.ndarray, np.ndarray]:
    """What reaches each of ``out`` elements, and the fractional index that each stands at."""
    i = np.arange(out)[:, None] + padding
    source, between = np.divmod(i - dilation * np.arange(size), stride)
    taken = np.where(between == 0, source, np.nan)
    return taken, (i[:, 0] - dilation * (size - 1) / 2) / stride


def _per_dim(option: int | Sequence[int], n: int) -> list[int]:
    values = [option] if isinstance(option, int) else list(option)
    return values * n if len(values) == 1 else values


def _pixels(count: int, *, dim: int) -> Seen:
    """Along dimension ``dim`` of 4, every pixel sees itself."""
    shape = [1] * 4
    shape[dim] = count
    i, none = np.arange(count, dtype=float), np.zeros(count)
    return Seen(np.stack([-i, i, none, none, i]).reshape(HOME + 1, *shape))


def _nothing(n: int) -> np.ndarray:
    parts = np.array([NOTHING, NOTHING, NOTHING, NOTHING, np.nan])
    return parts.reshape(HOME + 1, *[1] * n)


def _without_repeats(parts: np.ndarray, axis: int) -> np.ndarray:
    """Of length 1 along an axis along which all is the same."""
    first = parts.take([0], axis) if parts.shape[axis] > 1 else parts
    same = np.array_equal(parts, np.broadcast_to(first, parts.shape), equal_nan=True)
    return first if same else parts


def _with_dimensions(parts: np.ndarray, n: int) -> np.ndarray:
    return parts.reshape(HOME + 1, *[1] * (n + 1 - parts.ndim), *parts.shape[1:])


def _regroup(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of old and of new dimensions that hold the same elements."""
    if 0 in old or math.prod(old) != math.prod(new):
        raise _NoRuleError
    i = j = 0
    while i < len(old) or j < len(new):
        before = [i] if i < len(old) else []
        after = [j] if j < len(new) else []
        i, j = i + len(before), j + len(after)
        while (a := math.prod(old[k] for k in before)) != (b := math.prod(new[k] for k in after)):
            if a < b:
                before.append(i)
                i += 1
            else:
                after.append(j)
                j += 1
        yield before, after


def _nanmean(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """NaN where all are, without a warning."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(axes, keepdims=True)
    count = there.sum(axes, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
