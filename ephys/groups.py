"""Which unit belongs to which group: a label for each, ``(unit,)``.

Labels are numbers or words; a unit whose word is empty is in no group. Any list of them will do
where groups are asked for. Units that are not all channels of a layer, in order, take theirs by
channel: ``contiguous(64, 8)[responses.channel]``.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from ephys.similarity import checked

Linkage = Literal["average", "complete", "ward"]
CLUSTERED_ON = "clustered_on"  # attribute of labels: fingerprint of the similarity that made them
SAME = 1e-5  # fingerprints this close are of one similarity: of float32, or of another gain, too


def contiguous(count: int, size: int) -> xr.DataArray:
    """Neighbors in groups of ``size``: units 0 to size - 1 are group 0, and so on.

    Raises
    ------
    ValueError : if ``size`` does not divide ``count`` into whole groups.

    Examples
    --------
    >>> contiguous(6, 2).values
    array([0, 0, 1, 1, 2, 2])
    """
    if size < 1 or count < 1 or count % size:
        raise ValueError(f"size={size} does not divide {count} units into whole groups")
    return _labels(np.arange(count) // size)


def of_layer(count: int, groups: int) -> xr.DataArray:
    """The groups of a convolution, as many blocks of neighbors: its ``module.groups``.

    Both the units that it has and those that it reads are in as many: the 96 units of AlexNet's
    conv1 are in the 2 groups of conv2.

    Raises
    ------
    ValueError : if the layer has no groups, or they do not divide ``count``.

    Examples
    --------
    >>> of_layer(6, 2).values
    array([0, 0, 0, 1, 1, 1])
    """
    if groups < 2:
        raise ValueError(f"groups={groups}: the layer has no groups; declare some")
    if count < 1 or count % groups:
        raise ValueError(f"groups={groups} do not divide {count} units into equal blocks")
    return _labels(np.arange(count) // (count // groups))


def declared(count: int, units: Mapping[str, Iterable[int]]) -> xr.DataArray:
    """Groups by name, from the units of each; the others are in none.

    Raises
    ------
    ValueError : for a unit in two groups, one that there is not, or a group without a name.

    Examples
    --------
    >>> declared(5, {"grey": [0, 1], "color": [3, 4]}).values.tolist()
    ['grey', 'grey', '', 'color', 'color']
    """
    words = [""] * count
    for name, members in units.items():
        if not name:
            raise ValueError("the empty word is for units in no group; name the group")
        for member in members:
            if member not in range(count):
                raise ValueError(f"group {name!r}: unit {member} is not one of 0 to {count - 1}")
            unit = int(member)
            if words[unit]:
                raise ValueError(f"unit {unit} is in {words[unit]!r} and in {name!r}; choose one")
            words[unit] = name
    return _labels(np.array(words, dtype=str))


def clustered(similarity: xr.DataArray, count: int, method: Linkage = "average") -> xr.DataArray:
    """Groups of alike units, by hierarchical clustering of the distances of :mod:`.similarity`.

    Groups that were made of alike units *are* of alike units, and a test of that says nothing: on
    the same similarity, as far as it is of the same units in the same order, ``grouping_test``
    gives no p, and on any other it warns. Nor is there a fair one on what goes with it,
    the correlation of responses beside the cosine of filters. Cluster on one property and test
    another that could have gone its own way, or cluster on half of the stimuli and test, of other
    units or trainings, on the other half.

    Parameters
    ----------
    similarity : (unit, unit_2); a unit without any, or of weight 0, is in no group. Weights count
        no further.
    count : of groups.
    method : how far apart two clusters are: of the mean pair, or of the farthest; or what merging
        them adds to the variance, which is only meant for distances in a plain space.

    Raises
    ------
    KeyError : for another method.
    ValueError : for fewer than two groups, more than units, or what is no similarity.

    References
    ----------
    Müllner (2011), arXiv:1109.2378.
    """
    if method not in get_args(Linkage):
        raise KeyError(f"method={method!r} is none of {', '.join(get_args(Linkage))}")
    matrix, weights = checked(similarity)
    units = np.flatnonzero(weights)
    if not 2 <= count <= len(units):
        raise ValueError(f"count={count} is not between 2 and the {len(units)} units there are")
    distances = np.sqrt(np.maximum(2 - 2 * matrix[np.ix_(units, units)], 0))
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), method)
    words = np.full(len(matrix), "", dtype=f"U{len(f'cluster {count}')}")
    words[units] = [f"cluster {1 + number}" for number in cut_tree(tree, [count])[:, 0]]
    return _labels(words).assign_attrs({CLUSTERED_ON: fingerprint(matrix)})


def numbered(groups: ArrayLike | xr.DataArray, count: int) -> np.ndarray:
    """Each unit's group as a number from 0, in the order of labels; -1 for a unit in none.

    Raises
    ------
    ValueError : if there is not one for each of ``count`` units, one is missing (NaN, None), or
        there are fewer than two groups, or none has two units.
    """
    labels = np.asarray(groups)
    if labels.shape != (count,):
        raise ValueError(f"groups are of shape {labels.shape}; give one for each of {count} units")
    each = np.asarray(groups, dtype=object)  # among words NaN would become one
    if (missing := pd.isnull(each)).any():
        unit = int(missing.argmax())
        raise ValueError(
            f"groups: that of unit {unit} is {each[unit]}; name it, or give '' to leave it out"
        )
    if labels.dtype.kind not in "fiub":
        labels = labels.astype(str)
    names, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if names.dtype.kind == "U" and names[0] == "":  # which is the first of words
        numbers, sizes = numbers - 1, sizes[1:]
    if len(sizes) < 2:
        raise ValueError(f"groups: there are {len(sizes)}; two or more can be compared")
    if sizes.max() < 2:
        raise ValueError(f"groups: all {len(sizes)} have one unit, and no two to compare; merge")
    return numbers


def fingerprint(matrix: np.ndarray) -> float:
    """By which a similarity knows the groups that were made from it.

    A sum of random signs over all pairs, weighted by how far these are apart: of two different ones
    it is as good as never the same; rounding hardly changes it, and the unit of distances does not.
    """
    signs = 2 * np.random.default_rng(0).integers(2, size=matrix.shape, dtype=np.int8) - 1
    apart = np.nan_to_num(1 - matrix)
    return float(len(matrix) * (signs * apart).sum() / (apart.sum() or 1))


def _labels(labels: np.ndarray) -> xr.DataArray:
    return xr.DataArray(labels, dims="unit", name="group", attrs={"long_name": "group"})
