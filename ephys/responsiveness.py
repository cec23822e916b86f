"""Which units answer: by more than rounding, and one stimulus unlike another."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr
from scipy import stats

from ephys.multiple_comparisons import Method, correct
from ephys.responses import blocks
from ephys.statistics import CHUNK_VALUES
from ephys.tuning import CYCLES, blockwise

TESTS = ("anova", "permutation")
ROUNDING = 1000  # units in the last place of float32, as the recorder allows


def responsive(
    responses: xr.Dataset,
    *,
    repeats: Sequence[str] = CYCLES,
    margin: float | None = None,
    test: Literal["anova", "permutation"] = "anova",
    magnitude: bool = False,
    alpha: float = 0.05,
    method: Method = "fdr_bh",
    resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Which units answer the stimuli, and answer some unlike others.

    A network has no noise, so a unit *answers* if some stimulus moves it from the blank by more
    than rounding:

    .. math:: excess = \max_s |r_s - r_{blank}| / L > margin

    with L the largest response, of either sign, of any unit of its layer. It is *responsive* if
    besides the conditions (what stimuli have in common that differ in phase alone, say) are told
    apart better than chance would: the one-way analysis of variance over the conditions and the
    blank, as the Allen Brain Observatory makes it,

    .. math:: F = \frac{\sum_c n_c (\bar r_c - \bar r)^2 / (k - 1)}
        {\sum_{c, i} (r_{c, i} - \bar r_c)^2 / (N - k)}

    of k groups and N responses. The blank is a group of one: without noise, to show it again would
    say nothing new.

    The scatter is that of the phases, which were chosen, not drawn. p is therefore no frequency of
    errors but a scale: how far the conditions stand apart, in terms of what phase does. Means of
    phases evenly around the circle scatter less than of random ones, so that p is, if anything,
    too large. Only means are compared. A linear unit, whose mean over phases is the blank's
    whatever it is shown, answers and is not responsive: set ``magnitude`` for it.

    Parameters
    ----------
    responses : with ``response (stimulus, unit)`` and ``blank``. All that differs between stimuli
        but ``repeats`` makes conditions; they need not be a grid. A block of units is looked at at
        a time, of a dask array one of its own.
    repeats : parameters that do not make a condition.
    margin : share of the layer's largest response; by default what the recorder takes for rounding:
        1000 units in the last place of float32 (1.2e-4), or the ``error`` that it noted for a lower
        precision if that is more.
    test : ``"anova"`` takes p from the F distribution, which is of normal scatter;
        ``"permutation"`` from the responses given to conditions at random, ``resamples`` times, of
        which no p is below 1 / (1 + resamples).
    magnitude : test ``abs(response - blank)`` instead, over the conditions without the blank.
    alpha, method : of the p adjusted for the number of units that answer, see
        :func:`ephys.multiple_comparisons.correct`.
    resamples, seed : of the permutations, which are the same for all units.

    Returns
    -------
    Along ``unit``: ``excess``; ``answers``; ``f``, ``p`` and ``p_adjusted``, NaN for a unit that
    does not answer; ``responsive``, which is ``answers`` and a ``p_adjusted`` of at most alpha.
    A unit of a silent layer has an excess of NaN, and so has one of which a response is missing.
    Neither answers.

    Raises
    ------
    ValueError : where no condition was shown twice, for the magnitude in a single condition, and
        for a number out of range.
    KeyError : for another test or method.

    References
    ----------
    de Vries et al. (2020), Nature Neuroscience 23:138, and the ``ptest`` of the AllenSDK's
    ``DriftingGratings``. Phipson & Smyth (2010), Statistical Applications in Genetics and Molecular
    Biology 9:39.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is not between 0 and 1")
    if test not in TESTS:
        raise KeyError(f"test={test!r} is none of {', '.join(TESTS)}")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} is below 1")
    if margin is None:
        noted = float(responses.attrs.get("error", 0))
        margin = max(ROUNDING * float(np.finfo(np.float32).eps), noted)
    if not 0 <= margin < 1:
        raise ValueError(f"margin={margin} is not a share of the largest response, from 0 to 1")
    groups = _conditions(responses, repeats)
    if magnitude and not groups.any():
        raise ValueError("magnitude compares conditions, and all stimuli are of one")
    tests = []
    for block in blocks(responses):  # each is put in another order in memory
        measured = blockwise(
            _measured,
            block["response"],
            block["blank"],
            core=[["stimulus"], []],
            out=[[], [], [], []],
            dtypes=[float] * 4,
            kwargs={
                "groups": groups,
                "magnitude": magnitude,
                "resamples": resamples if test == "permutation" else 0,
                "seed": seed,
            },
        )
        names = ("largest", "deviation", "f", "p")
        tests.append(xr.Dataset(dict(zip(names, measured, strict=True))).compute())
    found = xr.concat(tests, "unit")
    excess = found["deviation"] / _largest_of_layer(found["largest"])
    answers = excess > margin
    p = found["p"].where(answers)
    adjusted = correct(p, method)
    labels = {
        "excess": excess.assign_attrs(long_name="largest deviation from the blank", units="1"),
        "answers": answers,
        "f": found["f"].where(answers),
        "p": p,
        "p_adjusted": adjusted.assign_attrs(long_name=f"p adjusted by {method}"),
        "responsive": answers & (adjusted <= alpha),
    }
    return xr.Dataset(labels, attrs={"margin": margin, "alpha": alpha, "method": method})


def _conditions(responses: xr.Dataset, repeats: Sequence[str]) -> np.ndarray:
    """Which condition each stimulus is of, counted from 0."""
    columns = [
        np.unique(c.values, return_inverse=True)[1]
        for name, c in responses.coords.items()
        if c.dims == ("stimulus",) and name not in ("stimulus", *repeats)
    ]
    count = responses.sizes["stimulus"]
    table = np.column_stack([np.zeros(count, int), *columns])
    groups = np.unique(table, axis=0, return_inverse=True)[1].ravel()
    if np.bincount(groups).max() < 2:
        raise ValueError(
            f"each of {count} conditions was shown once, so there is no scatter to compare them "
            f"with; repeats={list(repeats)} names no parameter that varies within one"
        )
    return groups


def _largest_of_layer(largest: xr.DataArray) -> xr.DataArray:
    """Of each unit's layer."""
    layers = largest["layer"].values if "layer" in largest.coords else ""
    place = np.unique(np.broadcast_to(layers, largest.shape), return_inverse=True)[1]
    peaks = np.zeros(place.max(initial=0) + 1)
    np.fmax.at(peaks, place, largest.values)
    return largest.copy(data=peaks[place])


def _measured(
    values: np.ndarray,
    blank: np.ndarray,
    *,
    groups: np.ndarray,
    magnitude: bool,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, ...]:
    """Kernel of ``responsive``: (unit, stimulus) and (unit) to four numbers of each unit."""
    found = np.full((4, len(values)), np.nan)
    step = max(1, CHUNK_VALUES // max(values.shape[-1], 1))
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for start in range(0, len(values), step):
        units = slice(start, start + step)
        shown = np.take(values[units].astype(float), order, axis=-1)  # sorted by condition
        grey = blank[units, None].astype(float)
        deviation = np.abs(shown - grey)
        found[0, units] = np.fmax.reduce(np.abs(np.append(shown, grey, axis=-1)), -1)
        found[1, units] = deviation.max(-1)
        if magnitude:
            tested, of = deviation, starts
        else:
            tested, of = np.append(shown, grey, axis=-1), np.append(starts, len(order))
        found[2:, units] = _analysis_of_variance(tested, of, resamples, seed)
    return tuple(found)


def _analysis_of_variance(
    values: np.ndarray, starts: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """F and p of (unit, response), in groups that start there."""
    total, varies = values.shape[-1], np.ptp(values, axis=-1) > 0
    counts = np.diff(starts, append=total)
    between, within = len(starts) - 1, total - len(starts)
    centered = values - values.mean(-1, keepdims=True)
    centered[~varies] = np.nan
    means = np.add.reduceat(centered, starts, axis=-1) / counts  # (unit, group)
    squares = (counts * means**2).sum(-1)
    scatter = ((centered - np.repeat(means, counts, axis=-1)) ** 2).sum(-1)
    with np.errstate(divide="ignore"):  # groups without any scatter
        f = (squares / between) / (scatter / within)
    if not resamples:
        return f, stats.f.sf(f, between, within)
    # Of the same responses F rises with what is between the groups.
    least = squares - total * np.finfo(float).eps * (centered**2).sum(-1)
    rng = np.random.default_rng(seed)
    exceeding = np.zeros(len(values))
    for _ in range(resamples):
        shuffled = np.take(centered, rng.permutation(total), axis=-1)
        exceeding += (np.add.reduceat(shuffled, starts, axis=-1) ** 2 / counts).sum(-1) >= least
    return f, np.where(varies, (1 + exceeding) / (1 + resamples), np.nan)
