"""How alike units are: any property as a similarity between each two of them.

A property is a number per unit, an angle, a vector, or filters or responses; what groups of units
are tested on is the similarity that it gives, which has the same meaning for all of them:

- a unit's similarity with itself is 1, and none is larger;
- the squared distance between two units is 2 (1 - similarity): the square of the difference of two
  numbers, in variances, or of the chord between two angles or directions.

A similarity is ``(unit, unit_2)``. A unit without the property, NaN, has none with any, itself
included. Where ``weight`` is given, it is a coordinate of ``unit``: what the unit counts for beside
the others, so that the orientation of one that hardly has any counts little, and at 0 not at all.

A similarity that was computed elsewhere is as good, if it keeps to these two lines; see
:func:`checked`.
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ephys.permutation import check_same_units
from ephys.statistics import check_no_angle

ROUNDING = 1e-9  # of similarities, which are of the order of 1


def scalar(values: ArrayLike | xr.DataArray, *, weight: ArrayLike | None = None) -> xr.DataArray:
    r"""Of a number per unit: a chromatic index, a bandwidth, a preferred frequency.

    .. math:: S_{ij} = 1 - (x_i - x_j)^2 / 2 s^2

    with the variance s^2 over units: 1 for the same value, and 0 on average over all pairs. A few
    units far out make up most of the variance; of such values give the logarithm, or the rank.

    Parameters
    ----------
    values : (unit,).
    weight : (unit,), at least 0; how much each unit counts.

    Returns
    -------
    (unit, unit_2), at most 1; NaN for a unit without a value. 1 everywhere if all have the same.

    Raises
    ------
    ValueError : for another shape, an infinite value, an angle, which has a ``period``, and a
        weight below 0 or of other units.
    """
    check_no_angle(values, "values")
    x = _per_unit("values", values)
    weights = _weights(weight, x)
    x = x / (np.nanmax(np.abs(x), initial=0) or 1)
    squared = (x[:, None] - x) ** 2
    pairs = np.outer(weights, weights)
    np.fill_diagonal(pairs, 0)
    counted = pairs > 0
    spread = np.average(squared[counted], weights=pairs[counted]) / 2 if counted.any() else 0.0
    rounding = (x.size * np.finfo(float).eps) ** 2
    scale = 1 / (2 * spread) if spread > rounding else 0.0
    return _labeled(1 - scale * squared, values, weight)


def circular(
    angle: ArrayLike | xr.DataArray,
    *,
    period: float | None = None,
    weight: ArrayLike | None = None,
) -> xr.DataArray:
    r"""Of an angle per unit: preferred orientation, direction, phase or hue.

    .. math:: S_{ij} = \cos(2 \pi (a_i - a_j) / \mathrm{period})

    1 for the same angle, -1 for the two that are farthest apart, half a period.

    Parameters
    ----------
    angle : (unit,), degrees.
    period : degrees; 180 of an orientation or an axis, 360 of a direction, a phase or a hue. By
        default what the attribute ``period`` of the angles says.
    weight : (unit,), at least 0; how much each unit counts, such as its selectivity.

    Returns
    -------
    (unit, unit_2), -1 to 1; NaN for a unit without an angle.

    Raises
    ------
    ValueError : for another shape, an infinite angle, a period that is not positive, not given, or
        not that of the angles, and a weight below 0 or of other units.
    """
    of_angle = angle.attrs.get("period") if isinstance(angle, xr.DataArray) else None
    period = of_angle if period is None else period
    if period is None or not 0 < period < np.inf:
        raise ValueError(f"period={period} is not a positive number of degrees; 180 of an axis")
    if of_angle not in (None, period):
        raise ValueError(f"period={period:g} is not that of the angles, {of_angle:g}; leave it out")
    degrees = _per_unit("angle", angle)
    turn = 2 * np.pi / period
    return _labeled(np.cos(turn * (degrees[:, None] - degrees)), angle, weight)


def cosine(
    vectors: ArrayLike | xr.DataArray,
    *,
    axes: bool = False,
    centered: bool = False,
    weight: ArrayLike | None = None,
) -> xr.DataArray:
    r"""Of a vector per unit: filters, cone weights, or the responses to all stimuli.

    .. math:: S_{ij} = v_i \cdot v_j / |v_i| |v_j|

    Parameters
    ----------
    vectors : (unit, ...), or ``unit`` and any other dimensions, which together are the vector.
    axes : whether v and -v are the same, as of filters that are there in both signs, and of hue
        axes; the similarity is then the absolute value. Distances are those between lines, which
        fit into no plain space, and a share of variance may then come out below 0.
    centered : whether the mean over the vector is removed first: Pearson's correlation, the
        *signal correlation* of responses to many stimuli.
    weight : (unit,), at least 0; how much each unit counts.

    Returns
    -------
    (unit, unit_2), -1 to 1, with ``axes`` 0 to 1; NaN for a unit whose vector is 0, or has a NaN.

    Raises
    ------
    ValueError : for an array without a second dimension, an infinite number, and a weight below 0
        or of other units.
    """
    if isinstance(vectors, xr.DataArray):
        vectors = vectors.transpose("unit", ...)
    arrays = np.asarray(vectors, float)
    if arrays.ndim < 2:
        raise ValueError(f"vectors are of shape {arrays.shape}; of one number a unit take scalar()")
    _check_not_infinite("vectors", arrays)
    flat = arrays.reshape(len(arrays), -1)
    largest = np.abs(flat).max(1, keepdims=True)
    if centered:
        flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    some = length > flat.shape[1] * np.finfo(float).eps * largest
    unit = np.divide(flat, length, out=np.full_like(flat, np.nan), where=some)
    product = np.clip(unit @ unit.T, -1, 1)
    return _labeled(np.abs(product) if axes else product, vectors, weight)


def checked(similarity: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix, (unit, unit_2), and how much each unit counts: 0 of one without the property.

    Raises
    ------
    ValueError : if it is not (unit, unit_2), not symmetric, NaN for only some pairs of a unit,
        above 1, or not 1 of a unit with itself, or for a weight below 0.
    """
    similarity = xr.DataArray(similarity)  # of a bare array, to say what it lacks
    if similarity.ndim != 2 or "unit" not in similarity.dims or len(set(similarity.shape)) > 1:
        raise ValueError(
            f"a similarity is (unit, unit_2), of all pairs; this is {dict(similarity.sizes)}: name "
            "its dimensions, or of a property take similarity.scalar, circular or cosine"
        )
    matrix = similarity.transpose("unit", ...).values.astype(float)
    itself = np.diag(matrix)
    defined = ~np.isnan(itself)
    off = defined & (np.abs(itself - 1) > ROUNDING)
    if off.any():
        unit = int(off.argmax())
        raise ValueError(f"similarity of unit {unit} with itself is {itself[unit]:g}, not 1; scale")
    both = np.outer(defined, defined)
    for wrong, what in [
        (~np.isfinite(matrix), "is not a number; leave one out, or define it"),
        (np.abs(matrix - matrix.T) > ROUNDING, "is not that of the same the other way around"),
        (matrix > 1 + ROUNDING, "is above 1, that of a unit with itself"),
    ]:
        if (both & wrong).any():
            i, j = np.argwhere(both & wrong)[0].tolist()
            raise ValueError(f"similarity of units {i} and {j}, {matrix[i, j]:g}, {what}")
    weight = similarity["weight"].values if "weight" in similarity.coords else None
    return matrix, _weights(weight, itself)


def _per_unit(name: str, values: ArrayLike | xr.DataArray) -> np.ndarray:
    array = np.asarray(values, float)
    if array.ndim != 1:
        raise ValueError(f"{name} are of shape {array.shape}; one number a unit, or take cosine()")
    _check_not_infinite(name, array)
    return array


def _check_not_infinite(name: str, arrays: np.ndarray) -> None:
    infinite = np.isinf(arrays).any(tuple(range(1, arrays.ndim)))
    if infinite.any():
        unit = int(infinite.argmax())
        raise ValueError(f"{name} of unit {unit} are infinite; give NaN to leave it out, or ranks")


def _weights(weight: ArrayLike | None, values: np.ndarray) -> np.ndarray:
    """How much units count; 0 where the value or the weight is NaN."""
    weights = np.ones(len(values)) if weight is None else np.asarray(weight, float)
    if weights.shape != (len(values),):
        raise ValueError(f"weight is of shape {weights.shape}; give one for each of {len(values)}")
    if (weights < 0).any() or np.isinf(weights).any():
        wrong = weights[(weights < 0) | np.isinf(weights)][0]
        raise ValueError(f"weight={wrong:g} is not at least 0 and finite")
    return np.where(np.isfinite(values) & np.isfinite(weights), weights, 0)


def _labeled(
    matrix: np.ndarray, of: ArrayLike | xr.DataArray, weight: ArrayLike | None
) -> xr.DataArray:
    coords = {}
    name = "similarity"
    if isinstance(of, xr.DataArray):
        name = f"similarity of {of.attrs.get('long_name', of.name or 'units')}"
        dim = "unit" if "unit" in of.dims else of.dims[0]
        coords = {
            key: ("unit", c.values, c.attrs)
            for key, c in of.coords.items()
            if c.dims == (dim,) and key != "weight"
        }
    attrs = {"long_name": name, "units": "1"}
    found = xr.DataArray(matrix, coords, dims=("unit", "unit_2"), attrs=attrs)
    if weight is None:
        return found
    _weights(weight, np.diag(matrix))
    if isinstance(weight, xr.DataArray):
        check_same_units(found, weight, "the property", "its weight")
    return found.assign_coords(weight=("unit", np.asarray(weight, float), {"units": "1"}))
