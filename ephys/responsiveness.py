"""Which units answer: by more than rounding, and in step with what was shown."""

import itertools
from collections.abc import Iterator, Sequence
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
    alpha: float = 0.05,
    method: Method = "fdr_bh",
    resamples: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    r"""Which units answer the stimuli, and follow what sets one apart from another.

    A network has no noise, so a unit *answers* if some stimulus moves it from the blank by more
    than rounding:

    .. math:: excess = \max_s |r_s - r_{blank}| / L > margin

    with L the largest response, of either sign, of any unit of its layer. It is *responsive* if
    besides its responses are explained better than chance would explain them by what is read off
    them: a mean for each condition (what stimuli have in common that differ in phase alone, say)
    and, where a condition was shown at four phases or more, the first harmonic of the phase. With
    :math:`\hat r` the least-squares fit of both,

    .. math:: F = \frac{\sum_{c, i} (\hat r_{c, i} - \bar r)^2 / (m - 1)}
        {\sum_{c, i} (r_{c, i} - \hat r_{c, i})^2 / (N - m)}

    of N responses and m numbers in the fit: one for the blank and for each condition, and two more
    for one with a harmonic. So a simple cell is found by its modulation, even a linear one, whose
    means are all the blank's, and a complex cell by its means. Where repeats are presentations and
    no phases, this is the one-way analysis of variance of the Allen Brain Observatory. The blank is
    a group of one: without noise, to show it again would say nothing new.

    The scatter is what phase does beyond the first harmonic, and phases are chosen, not drawn: p is
    no frequency of errors but a scale, of how much of the response is what is read off it.

    Parameters
    ----------
    responses : with ``response (stimulus, unit)`` and ``blank``. All that differs between stimuli
        but ``repeats`` makes conditions; they need not be a grid. A block of units is looked at at
        a time, of a dask array one of its own.
    repeats : parameters that do not make a condition; of these, ``phase`` has a harmonic.
    margin : share of the layer's largest response; by default what the recorder takes for rounding:
        1000 units in the last place of float32 (1.2e-4), or the ``error`` that it noted for a lower
        precision if that is more.
    test : ``"anova"`` takes p from the F distribution, which is of normal scatter;
        ``"permutation"`` from the responses given to conditions at random, ``resamples`` times, of
        which no p is below 1 / (1 + resamples).
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
    ValueError : where no condition was shown twice, and for a number out of range.
    KeyError : for another test or method.

    References
    ----------
    de Vries et al. (2020), Nature Neuroscience 23:138, and the ``ptest`` of the AllenSDK's
    ``DriftingGratings``. Skottun et al. (1991), Vision Research 31:1079, on the mean and the first
    harmonic. Phipson & Smyth (2010), Statistical Applications in Genetics and Molecular Biology
    9:39.
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
    order = np.append(np.argsort(groups, kind="stable"), len(groups))  # and the blank, at last
    starts = np.flatnonzero(np.diff(np.append(groups, -1)[order], prepend=-2))
    phase = responses.get("phase") if "phase" in repeats else None
    angles = np.zeros(len(groups)) if phase is None else phase.values
    basis = _basis(np.append(angles, 0)[order], starts)
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
                "order": order,
                "starts": starts,
                "basis": basis,
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


def _basis(phase: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Orthonormal in each condition that starts there: its mean, and two waves (3, stimulus).

    The waves are 0 in a condition that was shown at fewer than four phases, of which the three
    would leave nothing over.
    """
    basis = np.zeros((3, len(phase)))
    for first, last in itertools.pairwise([*starts, len(phase)]):
        angle = np.deg2rad(phase[first:last])
        shown = np.unique(np.round(np.rad2deg(angle), 6) % 360).size
        columns = [np.ones_like(angle), np.cos(angle), np.sin(angle)][: 3 if shown >= 4 else 1]
        basis[: len(columns), first:last] = np.linalg.qr(np.stack(columns, -1))[0].T
    return basis


def _measured(
    values: np.ndarray,
    blank: np.ndarray,
    *,
    order: np.ndarray,
    starts: np.ndarray,
    basis: np.ndarray,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, ...]:
    """Kernel of ``responsive``: (unit, stimulus) and (unit) to four numbers of each unit."""
    found = np.full((4, len(values)), np.nan)
    step = max(1, CHUNK_VALUES // max(values.shape[-1], 1))
    for start in range(0, len(values), step):
        units = slice(start, start + step)
        shown = np.append(values[units], blank[units, None], axis=-1).astype(float)
        shown = np.take(shown, order, axis=-1)  # sorted by condition
        found[0, units] = np.fmax.reduce(np.abs(shown), -1)
        found[1, units] = np.abs(shown - shown[:, -1:]).max(-1)
        found[2:, units] = _analysis_of_variance(shown, starts, basis, resamples, seed)
    return tuple(found)


def _analysis_of_variance(
    values: np.ndarray, starts: np.ndarray, basis: np.ndarray, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """F and p of (unit, response), fit by (3, response) in each of the groups that start there."""
    total, varies = values.shape[-1], np.ptp(values, axis=-1) > 0
    counts = np.diff(starts, append=total)
    used = int(np.add.reduceat(basis != 0, starts, axis=-1).astype(bool).sum())
    between, within = used - 1, total - used
    centered = values - values.mean(-1, keepdims=True)
    centered[~varies] = np.nan

    def amplitudes(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each part of the basis: the part, and how much of it is in each group."""
        for part in basis[basis.any(-1)]:
            yield part, np.add.reduceat(values * part, starts, axis=-1)

    rest, explained = centered.copy(), np.zeros(len(values))
    for part, amplitude in amplitudes(centered):
        rest -= part * np.repeat(amplitude, counts, axis=-1)
        explained += (amplitude**2).sum(-1)
    with np.errstate(divide="ignore"):  # nothing is left over
        f = (explained / between) / ((rest**2).sum(-1) / within)
    if not resamples:
        return f, stats.f.sf(f, between, within)
    # Of the same responses F rises with what is explained.
    least = explained - total * np.finfo(float).eps * (centered**2).sum(-1)
    rng = np.random.default_rng(seed)
    exceeding = np.zeros(len(values))
    for _ in range(resamples):
        shuffled = np.take(centered, rng.permutation(total), axis=-1)
        exceeding += sum((a**2).sum(-1) for _, a in amplitudes(shuffled)) >= least
    return f, np.where(varies, (1 + exceeding) / (1 + resamples), np.nan)
