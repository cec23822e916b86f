"""How layers and models differ: every measure of one population of units less that of another.

Units of two layers, or of two models, are different units: nothing is paired, even where layers and
channels have the same name, since nothing says that channel 3 of one network does what channel 3 of
another does.
"""

import fnmatch
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ephys.macaque_v1 import RESPONSIVE
from ephys.measures import WORDS
from ephys.multiple_comparisons import Method, check_method, correct
from ephys.nearest import nearest
from ephys.rank_tests import differences
from ephys.reference import distributions
from ephys.report import (
    COLUMNS_TABLE,
    DIFFERENCES_TABLE,
    NUMBERS,
    UNITS_TABLE,
    flags_of,
    is_share,
)
from ephys.responses import open_store

Condition = tuple[str, str]  # run, layer
# Columns that are no measures: where a unit is, and which stimulus, or where, it answers most.
PLACES = {
    *("protocol", "layer", "run", "channel", "row", "column", "rf_x", "rf_y"),
    *(f"{fit}_center_{axis}" for fit in ("gaussian", "gabor") for axis in "xy"),
}
LABELS = {
    f"best_{name}"
    for name in (
        *("x", "y", "time", "seed", "file_row", "file_column"),
        *("cone_l", "cone_m", "cone_s", "elevation"),  # which ``part`` says
    )
}
MOST_WORDS = 8  # of more, each would be said of few units
PERMUTATIONS, PER_TEST, MOST = 10_000, 40, 100_000  # so that p, corrected, can be 0.025
ALPHA = 0.05


def compare(
    tables: Mapping[str, pd.DataFrame],
    *,
    protocols: Collection[str] = (),
    layers: Collection[str] = (),
    measures: Collection[str] = (),
    angles: Collection[str] = (),
    successive: bool = False,
    correction: Method = "holm",
    permutations: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every measure of every protocol for a difference between layers, or between models.

    Of one run each layer is compared with every one before it. Of two runs each layer is compared
    with the one of the same name; where they share none, every layer of one with every one of the
    other.

    Differences are of medians over units, or of shares of them: of what is 1 or 0, such as the
    flags of a fit, and of words, ``cell_class: simple``. Units without a value, or whose value is
    infinite, are left out, and so are of the parameters of a fit those where it did not converge,
    or ended at a bound or beyond the contrasts shown, and of properties of macaque V1 those that
    respond too little for the study. Angles on a circle have no median, and are not compared. Units
    count as independent of each other, which those of one channel at several positions are not:
    intervals are then too narrow, and p too small.

    Parameters
    ----------
    tables : by the name of the run the units, a row for each protocol, layer and unit, as in
        ``units.csv``.
    protocols : names; by default those that all runs have.
    layers, measures : names, globs or ``re:EXPRESSION``; by default all.
    angles : the columns that go around a circle.
    successive : of one run, compare each layer with the one before it only.
    correction : of the p values of the whole table, see :func:`ephys.multiple_comparisons.correct`.
    permutations : by default 40 for each test, but 10,000 at least and 100,000 at most.
    level : coverage of the bootstrap intervals.
    seed : of both; the same seed gives the same numbers.

    Returns
    -------
    A row for each protocol, pair and measure:

    - ``protocol``, ``measure``, and ``statistic``: ``median`` or ``share``.
    - ``run_a`` and ``run_b``, if there are several runs, ``layer_a`` and ``layer_b``. b comes first
      in the tables: a less b is what changed from b to a.
    - ``count_a``, ``count_b`` : units with a value.
    - ``value_a``, ``value_b``, and their ``difference`` with its interval, ``low`` to ``high``.
    - ``effect_size`` : Cliff's delta, P(a > b) - P(a < b): 1 if every unit of a exceeds every unit
      of b, -1 if none does, 0 if it is as often the one as the other.
    - ``p`` : of a two-sided permutation test of delta, see :func:`ephys.rank_tests.differences`;
      never below 1 / (1 + permutations), and NaN for fewer than two units on either side.
    - ``p_corrected``, and the ``permutations`` that p is of.

    Warns
    -----
    UserWarning : where so many tests by so few permutations leave no p, corrected, below 0.05.

    Raises
    ------
    KeyError : for a protocol, layer or measure that is in no table, naming the nearest, and for
        another correction.
    ValueError : for no table, a single layer of a single run, runs that share no protocol, or no
        measure, an angle, and numbers out of range.

    References
    ----------
    Cliff (1993), Psychological Bulletin 114:494.
    """
    check_method(correction, "correction")
    if not tables:
        raise ValueError("there are no tables; give one of two layers or more, or several")
    units = pd.concat(
        [table.copy().assign(run=run) for run, table in tables.items()], ignore_index=True
    )
    names = _shared_protocols(units, protocols)
    units = units[units["protocol"].isin(names)]
    units = units[units["layer"].isin(_chosen(layers, units["layer"].unique(), "layer"))]
    _check_conditions(units, tables)
    values = {name: _values(units[units["protocol"] == name], angles) for name in names}
    asked = [measure for measure in measures if measure in angles]
    if asked:
        raise ValueError(f"{asked[0]} is an angle, of which there is no median; name another")
    known = dict.fromkeys(measure for table in values.values() for measure in table.columns)
    wanted = _chosen(measures, list(known), "measure")
    rows: list[dict[str, Any]] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for name, table in values.items():
        for row, pair in _tests(table[[m for m in table if m in wanted]], units, successive):
            rows.append({"protocol": name, **row})
            pairs.append(pair)
    if not rows:
        raise ValueError("no measure is of both runs; choose other protocols or measures")
    if len(tables) == 1:
        rows = [{k: v for k, v in row.items() if k not in ("run_a", "run_b")} for row in rows]
    if permutations is None:
        permutations = min(max(PERMUTATIONS, PER_TEST * len(rows)), MOST)
    found = differences(
        pairs,
        [row["statistic"] for row in rows],
        permutations=permutations,
        level=level,
        seed=seed,
    )
    rows = [row | one for row, one in zip(rows, found, strict=True)]
    p = xr.DataArray([row["p"] for row in rows], dims="test")
    _check_resolution(p, correction, permutations)
    corrected = correct(p, correction).values
    return pd.DataFrame(rows).assign(p_corrected=corrected, permutations=permutations)


def compare_runs(runs: Sequence[Path], **options: Any) -> tuple[pd.DataFrame, list[str]]:
    """Compare the layers of a run, or those of several.

    Parameters
    ----------
    runs : folders with ``units.csv``.
    options : of :func:`compare`, but ``angles``.

    Returns
    -------
    The table of :func:`compare`, and the angles that are left out.

    Warns
    -----
    UserWarning : for protocols that not all runs have, and for those whose stimuli differ.

    Raises
    ------
    FileNotFoundError : for a folder that is no run, or not analyzed.
    KeyError, ValueError : as :func:`compare`.
    """
    folders = [run.resolve() for run in runs]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the run {twice[0]} is named twice; nothing differs from itself")
    tables: dict[str, pd.DataFrame] = {}
    angles: dict[str, None] = {}
    for name, run in zip(names, runs, strict=True):
        tables[name], of_run = read_units(run)
        angles |= dict.fromkeys(of_run)
    found = compare(tables, angles=angles, **options)
    shown = list(found["protocol"].unique())
    of_runs = [table["protocol"].unique() for table in tables.values()]
    everything = dict.fromkeys(name for names in of_runs for name in names)
    lost = [name for name in everything if not all(name in names for names in of_runs)]
    if lost and not options.get("protocols"):
        warnings.warn(f"not in all runs, and left out: {', '.join(lost)}", stacklevel=2)
    for protocol in shown if len(runs) > 1 else ():
        if len({_stimuli(run, protocol) for run in runs}) > 1:
            text = f"{protocol} has other stimuli in one run than in another, as for other displays"
            warnings.warn(text, stacklevel=2)
    units = pd.concat(tables.values())
    units = units.loc[units["protocol"].isin(shown)]
    return found, [angle for angle in angles if angle in units and units[angle].notna().any()]


def write_differences(run: Path, seed: int) -> None:
    """Write ``differences.csv``: what each layer of a run differs in from the one before it.

    A run of one layer has none.

    Parameters
    ----------
    run : folder with ``units.csv`` and ``units_columns.csv``.
    seed : of permutations and bootstrap.
    """
    (run / DIFFERENCES_TABLE).unlink(missing_ok=True)
    units, angles = read_units(run)
    if units.groupby("protocol")["layer"].nunique().max() > 1:
        found = compare({run.name: units}, angles=angles, successive=True, seed=seed)
        found.to_csv(run / DIFFERENCES_TABLE, index=False, float_format=NUMBERS)


def read_units(run: Path) -> tuple[pd.DataFrame, list[str]]:
    """``units.csv`` of a run, and those of its columns that are angles on a circle.

    Raises
    ------
    FileNotFoundError : for a folder that is no run, or not analyzed.
    ValueError : for a run that was analyzed before its tables told angles from other measures.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"there is no run {run}")
    for name in (UNITS_TABLE, COLUMNS_TABLE):
        if not (run / name).is_file():
            raise FileNotFoundError(f"{run} has no {name}; make it with: ephys analyze {run}")
    names = {"layer": str, "protocol": str}
    units = pd.read_csv(run / UNITS_TABLE, dtype=names, keep_default_na=False, na_values="")
    columns = pd.read_csv(run / COLUMNS_TABLE)
    if "period" not in columns:
        raise ValueError(
            f"{run / COLUMNS_TABLE} tells no angles; make it anew with: ephys analyze {run}"
        )
    return units, columns.loc[columns["period"].notna(), "column"].tolist()


def _check_resolution(p: xr.DataArray, correction: Method, permutations: int) -> None:
    least = correct(p.where(p.isnull(), 1 / (1 + permutations)), correction).min().item()
    if least > ALPHA:
        warnings.warn(
            f"{int(p.count())} tests by {permutations} permutations leave no p, corrected, below "
            f"{least:.2g}; compare fewer layers or measures, or take more permutations",
            stacklevel=3,
        )


def _stimuli(run: Path, protocol: str) -> str:
    store = run / "responses.zarr" / protocol
    return str(open_store(store).attrs.get("stimuli_sha256")) if store.is_dir() else ""


def _shared_protocols(units: pd.DataFrame, asked: Collection[str]) -> list[str]:
    """The protocols that were asked for, or all that every run has."""
    of_runs = {
        str(run): list(dict.fromkeys(part["protocol"]))
        for run, part in units.groupby("run", sort=False)
    }
    known = dict.fromkeys(name for names in of_runs.values() for name in names)
    for name in asked:
        if name not in known:
            raise KeyError(f"no protocol {name!r} was shown; did you mean {nearest(name, known)}?")
        for run, names in of_runs.items():
            if name not in names:
                raise ValueError(f"{run} was not shown {name}; it has {', '.join(names)}")
    shared = [name for name in known if all(name in names for names in of_runs.values())]
    if not shared:
        have = "; ".join(f"{run} has {', '.join(names)}" for run, names in of_runs.items())
        raise ValueError(f"the runs share no protocol ({have}); probe them with the same one")
    return [name for name in shared if not asked or name in asked]


def _check_conditions(units: pd.DataFrame, runs: Iterable[str]) -> None:
    """Refuse runs without one of the layers, and one layer alone."""
    names = list(runs)
    found = units[["run", "layer"]].drop_duplicates()
    for run in names:
        if run not in found["run"].values:
            raise ValueError(f"{run} has none of these layers; name some of each run")
    if len(found) == 1:
        raise ValueError(
            f"{names[0]} has one layer, {found['layer'].iloc[0]}, and nothing to compare it with; "
            "name another run, or more layers"
        )


def _chosen(patterns: Collection[str], known: Iterable[str], what: str) -> list[str]:
    """The names that any of the patterns fits, or all without a pattern."""
    names, found = list(known), set()
    for pattern in patterns:
        fitting = [name for name in names if _fits(name, pattern)]
        if not fitting:
            raise KeyError(
                f"there is no {what} {pattern!r}; did you mean {nearest(pattern, names)}?"
            )
        found.update(fitting)
    return [name for name in names if not patterns or name in found]


def _fits(name: str, pattern: str) -> bool:
    """As for layers of a model: a star stands for what is between two dots."""
    if pattern.startswith("re:"):
        try:
            return re.fullmatch(pattern.removeprefix("re:"), name) is not None
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    parts, globs = name.split("."), pattern.split(".")
    alike = len(parts) == len(globs) and all(map(fnmatch.fnmatchcase, parts, globs))
    return name == pattern or alike


def _values(units: pd.DataFrame, angles: Collection[str]) -> pd.DataFrame:
    """The measures of the units of a protocol as numbers, NaN where they say nothing."""
    found: dict[str, pd.Series] = {}
    for name in units.columns.difference([*PLACES, *LABELS, *angles], sort=False):
        column = units[name].dropna()
        if pd.api.types.infer_dtype(column) != "string":
            numbers = column.astype(float)
            found[name] = numbers[np.isfinite(numbers)]
            continue
        column = column[column != ""]
        words = column.unique()
        for word in WORDS.get(name, words if len(words) <= MOST_WORDS else ()):
            found[f"{name}: {word}"] = (column == word).astype(float)
    values = pd.DataFrame(found, index=units.index).dropna(axis=1, how="all")
    names = list(map(str, values))
    for name in names:
        for flag, fine in flags_of(name, names).items():
            values[name] = values[name].where(values[flag] == fine)
    for name, cells in distributions().items():
        response = f"response_{cells.attrs['study']}"
        if name in values and response in values:
            values[name] = values[name].where(values[response] > RESPONSIVE)
    return values


def _tests(
    values: pd.DataFrame, units: pd.DataFrame, successive: bool
) -> Iterator[tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]]:
    """What is compared with what in a protocol, and the values that both have."""
    where = units.loc[values.index, ["run", "layer"]]
    groups = {
        (str(run), str(layer)): values.loc[part.index]
        for (run, layer), part in where.groupby(["run", "layer"], sort=False)
    }
    has = {
        str(run): set(values.loc[part.index].dropna(axis=1, how="all"))
        for run, part in where.groupby("run", sort=False)
    }
    for a, b in _pairs(list(groups), successive):
        for measure in map(str, values.columns):
            if measure in has[a[0]] & has[b[0]]:
                share = is_share(measure)
                sides = [groups[side][measure].dropna().to_numpy() for side in (a, b)]
                row = {
                    **{"measure": measure, "statistic": "share" if share else "median"},
                    **{"run_a": a[0], "layer_a": a[1], "run_b": b[0], "layer_b": b[1]},
                    **{"count_a": sides[0].size, "count_b": sides[1].size},
                }
                yield row, (sides[0], sides[1])


def _pairs(conditions: list[Condition], successive: bool) -> Iterator[tuple[Condition, Condition]]:
    """What is compared with what: the later with the earlier."""
    runs = list(dict.fromkeys(run for run, _ in conditions))
    if len(runs) == 1:
        pairs = pairwise(conditions) if successive else combinations(conditions, 2)
        yield from ((a, b) for b, a in pairs)
        return
    for earlier, later in combinations(runs, 2):
        of_b, of_a = ([c for c in conditions if c[0] == run] for run in (earlier, later))
        same = [((later, layer), (earlier, layer)) for _, layer in of_a if (earlier, layer) in of_b]
        yield from same or product(of_a, of_b)
