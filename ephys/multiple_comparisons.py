"""Many tests at once: p values adjusted for how many there are."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from ephys.tuning import blockwise

Method = Literal["holm", "fdr_bh", "bonferroni"]


def correct(
    p: xr.DataArray, method: Method = "holm", dim: str | Sequence[str] | None = None
) -> xr.DataArray:
    r"""Adjust p values of many tests: an adjusted p of at most alpha is significant among them all.

    Of m values, :math:`p_{(1)} \leq \dots \leq p_{(m)}`, all cut off at 1:

    - ``"bonferroni"`` : m p
    - ``"holm"`` : :math:`\max_{j \leq i} (m - j + 1) p_{(j)}`, never above Bonferroni's. These two
      bound the chance of a single false positive, however the tests depend on each other.
    - ``"fdr_bh"`` : :math:`\min_{j \geq i} m p_{(j)} / j`, which bounds the expected share of false
      ones among the positives, for tests that are independent or positively dependent.

    Parameters
    ----------
    p : between 0 and 1. NaN, where nothing was tested, stays NaN and does not count in m.
    dim : of the tests that belong together; by default all are.

    Returns
    -------
    The array, adjusted.

    Raises
    ------
    ValueError : for a p that is not between 0 and 1.
    KeyError : for another method, or a dimension that p has not.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6:65. Benjamini & Hochberg (1995), Journal of
    the Royal Statistical Society B 57:289; Benjamini & Yekutieli (2001), Annals of Statistics
    29:1165: dependence.
    """
    check_method(method)
    asked = p.dims if dim is None else [dim] if isinstance(dim, str) else dim
    dims = [str(name) for name in asked]
    for name in dims:
        if name not in p.dims:
            raise KeyError(f"dim={name!r} is none of p, which has {', '.join(map(str, p.dims))}")
    kwargs = {"method": method, "axes": len(dims)}
    adjusted: xr.DataArray = blockwise(_adjusted, p, core=[dims], out=[dims], kwargs=kwargs)
    return adjusted.transpose(*p.dims)


def check_method(method: str, name: str = "method") -> None:
    """Refuse, with a KeyError, another method, by the name that the caller has for it."""
    if method not in ADJUSTMENTS:
        raise KeyError(f"{name}={method!r} is none of {', '.join(ADJUSTMENTS)}")


def _adjusted(p: np.ndarray, *, method: Method, axes: int) -> np.ndarray:
    """Kernel of ``correct``: over the last axes, (..., *tests) to the same."""
    rows = p.reshape(*p.shape[: p.ndim - axes], -1).astype(float)
    if ((rows < 0) | (rows > 1)).any():
        wrong = rows[(rows < 0) | (rows > 1)][0]
        raise ValueError(f"p={wrong:g} is not between 0 and 1")
    count = np.isfinite(rows).sum(-1, keepdims=True)
    order = rows.argsort(-1)  # NaN last
    rising = np.take_along_axis(rows, order, -1)
    rank = np.arange(1, rows.shape[-1] + 1)
    adjusted = np.empty_like(rows)
    np.put_along_axis(adjusted, order, ADJUSTMENTS[method](rising, rank, count), -1)
    return np.where(np.isnan(rows), np.nan, np.minimum(adjusted, 1)).reshape(p.shape)


def _holm(p: np.ndarray, rank: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate((count - rank + 1) * p, -1)


def _benjamini_hochberg(p: np.ndarray, rank: np.ndarray, count: np.ndarray) -> np.ndarray:
    falling = np.where(np.isnan(p), np.inf, p * count / rank)[..., ::-1]
    return np.minimum.accumulate(falling, -1)[..., ::-1]


def _bonferroni(p: np.ndarray, rank: np.ndarray, count: np.ndarray) -> np.ndarray:
    return count * p


ADJUSTMENTS = {"holm": _holm, "fdr_bh": _benjamini_hochberg, "bonferroni": _bonferroni}
