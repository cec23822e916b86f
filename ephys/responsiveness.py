"""Which units answer: by more than rounding, and in step with what was shown."""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import xarray as xr
from scipy import stats

from ephys.multiple_comparisons import Method, check_method, correct
from ephys.responses import blocks
from ephys.rounding import rounding_share
from ephys.tuning import CYCLES, blockwise

EFFECTS = ("condition", "phase", "interaction")
IN_CACHE = 2**16  # responses looked at at a time


Test = Literal["anova", "permutation"]


def responsive(
    responses: xr.Dataset,
    *,
    repeats: Sequence[str] = CYCLES,
    margin: float | None = None,
    test: Test = "anova",
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
    besides its responses go with what was shown, by an analysis of variance in which phase stands
    for its first harmonic:

    .. math:: r_{c, i} = \mu_c + a \cos \varphi_i + b \sin \varphi_i
        + a_c \cos \varphi_i + b_c \sin \varphi_i + \varepsilon_{c, i}

    A condition c is what stimuli have in common that differ in phase alone, say. The effects are
    that of ``condition`` (are the means unlike each other, and the blank?), that of ``phase`` (do
    all conditions modulate the response alike?) and the ``interaction`` (each in its own way?). A
    complex cell has the first, a simple cell the others too, and a linear one, whose means are
    all the blank's, no more than these. Each effect has its F, the mean square that it explains by
    the mean square that nothing explains, and p is the smallest of theirs times their number.

    A wave has no part in conditions that were shown at fewer than four phases, which it would fit
    whatever they answer; without others, where repeats are presentations, say, this is the one-way
    analysis of variance of the Allen Brain Observatory. The blank is a condition of its own, shown
    once: without noise, to show it again would say nothing new.

    The scatter is what phase does beyond the first harmonic, and phases are chosen, not drawn: p is
    no frequency of errors but a scale, of how much of the response is not scatter.

    Parameters
    ----------
    responses : with ``response (stimulus, unit)`` and ``blank``. All that differs between stimuli
        but ``repeats`` makes conditions; they need not be a grid. A block of units is looked at at
        a time, of a dask array one of its own.
    repeats : parameters that do not make a condition. Of these ``phase`` has effects, and ``time``
        by the phase that a grating has drifted to.
    margin : share of the layer's largest response; by default what the recorder takes for rounding,
        :func:`ephys.rounding.rounding_share`.
    test : ``"anova"`` takes p from the F distribution, which is of normal scatter;
        ``"permutation"`` from the responses given to conditions at random, ``resamples`` times, of
        which no p is below 1 / (1 + resamples).
    alpha, method : of the p adjusted for the number of units that answer, see
        :func:`ephys.multiple_comparisons.correct`.
    resamples, seed : of the permutations, which are the same for all units.

    Returns
    -------
    Along ``unit``: ``excess``; ``answers``; ``f`` and ``p_effect``, both along ``effect`` too;
    ``p`` and ``p_adjusted``; all but the first two NaN for a unit that does not answer;
    ``responsive``, which is ``answers`` and a ``p_adjusted`` of at most alpha.
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
    if test not in get_args(Test):
        raise KeyError(f"test={test!r} is none of {', '.join(get_args(Test))}")
    check_method(method)
    if resamples < 1:
        raise ValueError(f"resamples={resamples} is below 1")
    if margin is None:
        margin = rounding_share(responses)
    if not 0 <= margin < 1:
        raise ValueError(f"margin={margin} is not a share of the largest response, from 0 to 1")
    if not has_repeats(responses, repeats):
        raise ValueError(
            f"each of {responses.sizes['stimulus']} conditions was shown once, so there is no "
            f"scatter to compare them with; repeats={list(repeats)} names no parameter that varies "
            "within one"
        )
    design = _design(_conditions(responses, repeats), _angles(responses, repeats))
    effects = EFFECTS[: len(design.freedom) - 1]
    tests = []
    for block in blocks(responses):  # each is put in another order in memory
        measured = blockwise(
            _measured,
            block["response"],
            block["blank"],
            core=[["stimulus"], []],
            out=[[], [], ["effect"], ["effect"]],
            sizes={"effect": len(effects)},
            dtypes=[float] * 4,
            kwargs={
                "design": design,
                "resamples": resamples if test == "permutation" else 0,
                "seed": seed,
            },
        )
        names = ("largest", "deviation", "f", "p_effect")
        tests.append(xr.Dataset(dict(zip(names, measured, strict=True))).compute())
    found = xr.concat(tests, "unit")
    excess = found["deviation"] / _largest_of_layer(found["largest"])
    answers = excess > margin
    of_effects = found[["f", "p_effect"]].where(answers).assign_coords(effect=list(effects))
    of_effects = of_effects.transpose("effect", "unit")
    p = (len(effects) * of_effects["p_effect"].min("effect", skipna=False)).clip(max=1)
    adjusted = correct(p, method)
    labels = {
        "excess": excess.assign_attrs(long_name="largest deviation from the blank", units="1"),
        "answers": answers,
        **of_effects,
        "p": p,
        "p_adjusted": adjusted.assign_attrs(long_name=f"p adjusted by {method}"),
        "responsive": answers & (adjusted <= alpha),
    }
    return xr.Dataset(labels, attrs={"margin": margin, "alpha": alpha, "method": method})


def has_repeats(responses: xr.Dataset, repeats: Sequence[str] = CYCLES) -> bool:
    """Whether any condition was shown twice or more, as :func:`responsive` asks for."""
    groups = _conditions(responses, repeats)
    return groups.size > 0 and int(np.bincount(groups).max()) > 1


def _conditions(responses: xr.Dataset, repeats: Sequence[str]) -> np.ndarray:
    """Which condition each stimulus is of, counted from 0."""
    columns = [
        np.unique(c.values, return_inverse=True)[1]
        for name, c in responses.coords.items()
        if c.dims == ("stimulus",) and name not in ("stimulus", *repeats)
    ]
    table = np.column_stack([np.zeros(responses.sizes["stimulus"], int), *columns])
    return np.unique(table, axis=0, return_inverse=True)[1].ravel()


def _angles(responses: xr.Dataset, repeats: Sequence[str]) -> np.ndarray:
    """Phase of each stimulus as it is drawn, in degrees; NaN without any, or if it is no repeat."""
    angles = np.full(responses.sizes["stimulus"], np.nan)
    if "phase" in responses.coords and {"phase", "time"} & {*repeats}:
        angles = responses["phase"].values.astype(float)
    if "time" in repeats and {"time", "temporal_frequency"} <= {*responses.coords}:
        turns = responses["temporal_frequency"].values * responses["time"].values
        angles = np.where(np.isnan(turns), angles, np.nan_to_num(angles) - 360 * turns)
    return angles


def _largest_of_layer(largest: xr.DataArray) -> xr.DataArray:
    """Of each unit's layer."""
    layers = largest["layer"].values if "layer" in largest.coords else ""
    place = np.unique(np.broadcast_to(layers, largest.shape), return_inverse=True)[1]
    peaks = np.zeros(place.max(initial=0) + 1)
    np.fmax.at(peaks, place, largest.values)
    return largest.copy(data=peaks[place])


class _Design(NamedTuple):
    """What explains the responses, in the order of their conditions and with the blank at last."""

    order: np.ndarray  # (response,)
    starts: np.ndarray  # (condition,), the blank's last
    level: np.ndarray  # (response,), of norm 1 in each condition
    shared: np.ndarray  # (wave, response), orthonormal, and so to the level in each condition
    own: np.ndarray  # (wave, response), orthonormal in each condition, as to the level
    freedom: list[int]  # degrees of freedom of each effect and of the scatter


def _design(groups: np.ndarray, angles: np.ndarray) -> _Design:
    """Of the condition and the phase of each stimulus."""
    total = len(groups) + 1
    order = np.append(np.argsort(groups, kind="stable"), len(groups))
    starts = np.flatnonzero(np.diff(np.append(groups, -1)[order], prepend=-2))
    level, own, waves = np.zeros(total), np.zeros((2, total)), np.zeros((2, total))
    waving = 0
    for first, last in itertools.pairwise([*starts, total]):
        level[first:last] = 1 / np.sqrt(last - first)
        angle = np.append(angles, np.nan)[order[first:last]]
        if np.isfinite(angle).all() and np.unique(np.round(angle, 6) % 360).size >= 4:
            wave = np.exp(1j * np.deg2rad(angle))
            wave -= wave.mean()
            waves[:, first:last] = wave.real, wave.imag
            own[:, first:last] = np.linalg.qr(waves[:, first:last].T)[0].T
            waving += 1
    effects = [len(starts) - 1, *[2, 2 * waving - 2][: min(waving, 2)]]
    shared = np.linalg.qr(waves.T)[0].T if waving else waves
    return _Design(order, starts, level, shared, own, [*effects, total - 1 - sum(effects)])


def _measured(
    values: np.ndarray, blank: np.ndarray, *, design: _Design, resamples: int, seed: int
) -> tuple[np.ndarray, ...]:
    """Kernel of ``responsive``: (unit, stimulus) and (unit) to what is measured of each unit."""
    largest, deviation = np.full((2, len(values)), np.nan)
    f, p = np.full((2, len(values), len(design.freedom) - 1), np.nan)
    step = max(1, IN_CACHE // max(values.shape[-1], 1))
    for start in range(0, len(values), step):
        units = slice(start, start + step)
        shown = np.append(values[units], blank[units, None], axis=-1).astype(float)
        largest[units] = np.fmax.reduce(np.abs(shown), -1)
        deviation[units] = np.abs(shown - shown[:, -1:]).max(-1)
        shown = np.take(shown, design.order, axis=-1)
        f[units], p[units] = _analysis_of_variance(shown, design, resamples, seed)
    return largest, deviation, f, p


def _analysis_of_variance(
    values: np.ndarray, design: _Design, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """F and p (unit, effect) of (unit, response)."""
    total = values.shape[-1]
    *effects, rest = design.freedom
    centered = values - values.mean(-1, keepdims=True)
    centered[np.ptp(values, axis=-1) == 0] = np.nan
    explained, scatter = _sums_of_squares(centered, design)
    rounding = (total * np.finfo(float).eps * np.abs(values).max(-1, keepdims=True)) ** 2
    explained[explained <= rounding] = 0
    with np.errstate(divide="ignore", invalid="ignore"):  # without any scatter
        f = np.where(explained == 0, 0, (explained / effects) / (scatter / rest))
    if not resamples:
        return f, np.asarray(stats.f.sf(f, effects, rest))
    # F rises with the share that is explained of what the other effects leave.
    least = _share(explained, scatter) - total * np.finfo(float).eps
    rng = np.random.default_rng(seed)
    exceeding = np.zeros_like(f)
    for _ in range(resamples):
        shuffled = np.take(centered, rng.permutation(total), axis=-1)
        explained, scatter = _sums_of_squares(shuffled, design)
        exceeding += _share(explained, scatter) >= least
    exceeding[np.isnan(f)] = np.nan
    return f, (1 + exceeding) / (1 + resamples)


def _sums_of_squares(values: np.ndarray, design: _Design) -> tuple[np.ndarray, np.ndarray]:
    """What each effect explains (unit, effect) of (unit, response), and what none does (unit, 1).

    Each is taken away before the next is looked for, so that what is exactly explained leaves no
    more behind than rounding.
    """
    counts = np.diff(design.starts, append=values.shape[-1])

    rest, fitted = values.copy(), np.empty_like(values)

    def by_condition(part: np.ndarray) -> np.ndarray:
        amplitude = np.add.reduceat(np.multiply(rest, part, out=fitted), design.starts, axis=-1)
        np.multiply(np.repeat(amplitude, counts, axis=-1), part, out=fitted)
        return amplitude

    def by_phase(part: np.ndarray) -> np.ndarray:
        amplitude = np.multiply(rest, part, out=fitted).sum(-1, keepdims=True)
        np.multiply(amplitude, part, out=fitted)
        return amplitude

    found = np.zeros((len(values), len(design.freedom) - 1))
    level = design.level[None]
    steps = [(by_condition, level), (by_phase, design.shared), (by_condition, design.own)]
    for effect, (fit, parts) in zip(found.T, steps, strict=False):  # of as many as there are
        for part in parts:
            effect += (fit(part) ** 2).sum(-1)
            np.subtract(rest, fitted, out=rest)
    return found, np.square(rest, out=rest).sum(-1, keepdims=True)


def _share(explained: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    return explained / np.maximum(explained + scatter, np.finfo(float).tiny)
