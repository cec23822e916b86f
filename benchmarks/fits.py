"""What fitting tuning curves costs beside a loop of scipy's ``curve_fit``: ``make bench``.

Both fit the same functions within the same bounds to the same curves, from clean to hardly tuned.
curve_fit starts from what the curve shows (its peak, its range, its middle), as one does. Before
times are compared, every unit's residual has to be as low as curve_fit's on 99.9 % of the units,
and where both came to the same residual they have to have found the same parameters. Times are
CPU seconds of one thread, medians over rounds taken in turn.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
import xarray as xr
from scipy.optimize import curve_fit
from scipy.special import erf

from ephys import curve_fits, curve_shapes

RESULTS = Path(__file__).parent / "results"
NOISE = (0.0, 0.02, 0.05, 0.1, 0.3)  # s.d., in amplitudes; a fifth of the units each
SAME = 1e-7  # of the variance: curve_fit stops at changes of the residual by 1e-8 of it
LEAST_SHARE = 0.999


class Family(NamedTuple):
    """A function, units that were planted, and how curve_fit is told to find them."""

    function: Callable[..., np.ndarray]  # of points and parameters
    points: np.ndarray
    planted: np.ndarray  # (unit, parameter)
    start: Callable[[np.ndarray], list[float]]  # from a curve
    lower: list[float]
    upper: list[float]
    fit: Callable[[xr.DataArray], xr.Dataset]
    dim: str
    found: Callable[[xr.Dataset], list[xr.DataArray]]  # the parameters in the function's order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for name, family in families(arguments.units).items():
        curves = noisy(family)
        labelled = xr.DataArray(curves, {family.dim: family.points}, ("unit", family.dim))
        loop, fitted = by_curve_fit(family, curves), family.fit(labelled)
        compared = agreement(family, curves, loop, fitted)
        behind = arguments.units * (1 - compared["share_as_low"])
        allowed = max(1.0, arguments.units * (1 - LEAST_SHARE))  # a trial run has too few for less
        assert behind <= allowed + 1e-6, (name, compared)
        seconds: dict[str, list[float]] = {"ephys": [], "curve_fit": []}
        for _ in range(arguments.rounds):
            seconds["ephys"].append(cpu_seconds(family.fit, labelled))
            seconds["curve_fit"].append(cpu_seconds(by_curve_fit, family, curves))
        ours, theirs = (float(np.median(times)) for times in seconds.values())
        rows.append(
            {
                "function": name,
                "units": arguments.units,
                "points": len(family.points),
                **compared,
                "ephys_us_per_unit": 1e6 * ours / arguments.units,
                "curve_fit_us_per_unit": 1e6 * theirs / arguments.units,
                "times_faster": theirs / ours,
            }
        )
        print(pd.DataFrame(rows[-1:]).to_string(index=False), flush=True)
    machine = (
        f"# {platform.system()} {platform.machine()}, one thread, Python "
        f"{platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}\n"
    )
    RESULTS.mkdir(exist_ok=True)
    text = pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")
    if arguments.units == parser.get_default("units"):  # a shorter run is a trial
        (RESULTS / "fits.csv").write_text(machine + text)


def families(units: int) -> dict[str, Family]:
    rng = np.random.default_rng(0)

    def between(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, units)

    def about(low: float, high: float) -> np.ndarray:
        return np.exp(between(np.log(low), np.log(high)))

    inf = np.inf
    orientations = np.arange(16) * 180 / 16
    frequencies = 2 ** np.linspace(-2, 4, 13)
    contrasts = np.array([0, 0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.3, 0.45, 0.65, 0.85, 1])
    diameters = np.geomspace(0.2, 10, 14)
    half_widths = np.deg2rad(between(10, 60))
    (_, least_kappa), (_, most_kappa) = bounds(curve_shapes.VonMises(orientations, 180.0, 1))
    (low_f, low_sd), (high_f, high_sd) = bounds(curve_shapes.LogGaussian(frequencies, False))
    (low_c50, low_n), (high_c50, high_n) = bounds(curve_shapes.NakaRushton(contrasts))
    sizes = bounds(curve_shapes.DifferenceOfGaussians(diameters, False))
    (low_size, low_ratio), (high_size, high_ratio) = sizes
    return {
        "von Mises": Family(
            von_mises,
            orientations,
            np.stack(
                [
                    *(between(0, 180), np.log(2) / (1 - np.cos(2 * half_widths))),
                    *(np.ones(units), between(0, 1)),
                ],
                axis=1,
            ),
            lambda r: [orientations[r.argmax()], 2.0, np.ptp(r), r.min()],
            [-180, least_kappa, 0, -inf],
            [360, most_kappa, inf, inf],
            curve_fits.fit_von_mises,
            "orientation",
            lambda d: [d["preferred"], d["kappa"], d["amplitude"], d["baseline"]],
        ),
        "log-Gaussian": Family(
            log_gaussian,
            frequencies,
            np.stack([about(0.5, 8), between(0.4, 1.5), np.ones(units)], axis=1),
            lambda r: [frequencies[r.argmax()], 1.0, max(r.max(), 1e-3)],
            [2**low_f, low_sd, 0],
            [2**high_f, high_sd, inf],
            curve_fits.fit_log_gaussian,
            "spatial_frequency",
            lambda d: [d["preferred"], d["bandwidth"] / np.sqrt(8 * np.log(2)), d["amplitude"]],
        ),
        "Naka-Rushton": Family(
            naka_rushton,
            contrasts,
            np.stack(
                [about(0.05, 0.6), about(1, 5), np.ones(units), between(0, 0.5)],
                axis=1,
            ),
            lambda r: [middle(contrasts, r), 2.0, np.ptp(r), r[0]],
            [np.exp(low_c50), low_n, -inf, -inf],
            [np.exp(high_c50), high_n, inf, inf],
            curve_fits.fit_naka_rushton,
            "contrast",
            lambda d: [d["c50"], d["exponent"], d["r_max"], d["baseline"]],
        ),
        "difference of Gaussians": Family(
            difference_of_gaussians,
            diameters,
            np.stack(
                [about(0.5, 3), about(1.5, 5), np.ones(units), between(0, 0.8)],
                axis=1,
            ),
            lambda r: [max(diameters[r.argmax()] / 2, 0.1), 3.0, max(r.max(), 1e-3), 0.3],
            [np.exp(low_size), low_ratio, 0, 0],
            [np.exp(high_size), high_ratio, inf, inf],
            curve_fits.fit_difference_of_gaussians,
            "diameter",
            lambda d: [
                *(d["center_size"], d["surround_size"] / d["center_size"]),
                *(d["center_gain"], d["surround_gain"]),
            ],
        ),
    }


def von_mises(
    angles: np.ndarray, preferred: float, kappa: float, amplitude: float, baseline: float
) -> np.ndarray:
    return baseline + amplitude * np.exp(kappa * (np.cos(2 * np.deg2rad(angles - preferred)) - 1))


def log_gaussian(
    frequencies: np.ndarray, preferred: float, sd: float, amplitude: float
) -> np.ndarray:
    return amplitude * np.exp(-0.5 * (np.log2(frequencies / preferred) / sd) ** 2)


def naka_rushton(
    contrasts: np.ndarray, c50: float, n: float, r_max: float, baseline: float
) -> np.ndarray:
    return baseline + r_max * contrasts**n / (c50**n + contrasts**n)


def difference_of_gaussians(
    diameters: np.ndarray, center: float, ratio: float, gain: float, surround_gain: float
) -> np.ndarray:
    return gain * erf(diameters / center) - surround_gain * erf(diameters / (center * ratio))


def middle(contrasts: np.ndarray, response: np.ndarray) -> float:
    """The lowest contrast above 0 with half the response."""
    half = (response.max() + response[0]) / 2
    return float(contrasts[1:][np.append(response[1:-1] >= half, True).argmax()])


def bounds(form: curve_shapes.Form) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of the form's two parameters, the second without its logarithm."""
    low, high = form.lower, form.upper
    return (float(low[0]), float(np.exp(low[1]))), (float(high[0]), float(np.exp(high[1])))


def noisy(family: Family) -> np.ndarray:
    """Curves (unit, point)."""
    rng = np.random.default_rng(1)
    clean = family.function(family.points, *family.planted.T[..., None])
    noise = np.resize(NOISE, len(clean))[:, None]
    return clean + noise * rng.normal(size=clean.shape)


def by_curve_fit(family: Family, curves: np.ndarray) -> np.ndarray:
    """Parameters and sum of squares, (unit, parameter + 1); NaN where curve_fit gave up."""
    found = np.full((len(curves), len(family.lower) + 1), np.nan)
    limits = (family.lower, family.upper)
    for row, curve in zip(found, curves, strict=True):
        start = np.clip(family.start(curve), *limits)
        try:
            row[:-1], _ = curve_fit(family.function, family.points, curve, start, bounds=limits)
        except RuntimeError:
            continue
        row[-1] = ((family.function(family.points, *row[:-1]) - curve) ** 2).sum()
    return found


def agreement(
    family: Family, curves: np.ndarray, loop: np.ndarray, fitted: xr.Dataset
) -> dict[str, float]:
    """How the residuals compare, and the parameters where those are the same."""
    ours = np.stack([p.values for p in family.found(fitted)], axis=1)
    described = family.function(family.points, *ours.T[..., None])
    variance = ((curves - curves.mean(1, keepdims=True)) ** 2).sum(1)
    # The numbers that are reported give the residual that is reported.
    off = ((described - curves) ** 2).sum(1) - fitted["sse"].values
    whole = np.isfinite(off)
    assert (abs(off[whole]) <= 1e-9 * variance[whole]).all(), abs(off / variance)[whole].max()
    gap = (fitted["sse"].values - loop[:, -1]) / variance
    gap = np.where(np.isnan(loop[:, -1]), -1, gap)
    clean = whole & (fitted["sse"].values < 1e-12 * variance) & (loop[:, -1] < 1e-12 * variance)
    turned = ours - loop[:, :-1]
    if family.dim == "orientation":
        turned[:, 0] = (turned[:, 0] + 90) % 180 - 90
    apart = abs(turned) / abs(family.planted).max(0)
    assert np.nanmax(apart[clean], initial=0) < 1e-3, np.nanmax(apart[clean])
    return {
        "share_as_low": float((gap <= SAME).mean()),
        "share_lower": float((gap < -1e-3).mean()),
        "curve_fit_gave_up": float(np.isnan(loop[:, -1]).mean()),
        "converged": float(fitted["converged"].mean()),
        "at_bound": float(fitted["at_bound"].mean()),
    }


def cpu_seconds(work: Callable[..., object], *arguments: object) -> float:
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


if __name__ == "__main__":
    main()
