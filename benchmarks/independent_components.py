"""Color and orientation without competition.

``EPHYS_DATA=... python benchmarks/independent_components.py``, 15 seconds.

The independent components of patches of color photographs are oriented and color-opponent (Lee,
Wachtler & Sejnowski 2000; Eichhorn, Sinz & Bethge 2009), though nothing in them competes within
groups. So these are no sign of competition; and as components come in no order, groups of their
indices are a null for whatever is said of groups. Patches are of BSDS500's training photographs, in
the pixel values that networks take: sRGB as encoded, neither light nor its logarithm. Writes
``results/independent_components.csv``: for each seed and component the properties of its filter,
which a network's weights compare with, and of its basis picture.

How many are chromatic hangs on how many principal components are kept: the last ones are the colors
of single pixels, which JPEG files hold at half the resolution of luminance. Of 64 of the 147 a
quarter of the filters are, of 120 nearly all.

References: Lee, Wachtler & Sejnowski (2000), Biologically Motivated Computer Vision, LNCS 1811:527.
Eichhorn, Sinz & Bethge (2009), PLoS Computational Biology 5:e1000336. Hyvarinen (1999), IEEE
Transactions on Neural Networks 10:626.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ephys.data_folders import data_folder, photograph_files, split_folder
from ephys.filters import filter_properties

RESULTS = Path(__file__).parent / "results"
COMPONENTS = 64
SIDE = 7  # pixels, as of the filters of a small network's first layer
PATCHES = 40_000
SEEDS = (0, 1, 2)
CHROMATIC = 0.5  # of chromatic energy
TOLERANCE = 1e-4  # of 1 minus the cosine by which a component turns in a step
MOST_STEPS = 400


def main() -> None:
    folder = split_folder(data_folder("bsds500"), "train")
    tables = []
    for seed in SEEDS:
        filters = photograph_components(folder, seed=seed)
        for part, weights in (("filter", filters), ("basis", basis(filters))):
            table = filter_properties(weights, pixels_per_degree=1).to_dataframe()
            table = table.reset_index(names="component")
            table.insert(0, "part", part)
            table.insert(0, "seed", seed)
            tables.append(table)
    found = pd.concat(tables)
    found.to_csv(RESULTS / "independent_components.csv", index=False, float_format="%.4g")
    print(summary(found).to_string())


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """For each seed, of filters and of basis pictures: the share of chromatic ones, of oriented
    ones, and of oriented ones among the chromatic, of which the hue axes (DKL azimuth, period 180)
    are counted in bins of 30 degrees."""
    rows = {}
    for where, table in found.groupby(["part", "seed"]):
        chromatic = table["chromatic_energy"] > CHROMATIC
        oriented = table["orientation"].notna()
        hues, _ = np.histogram(table["hue_axis"][chromatic], np.arange(0, 181, 30))
        rows[where] = {
            "chromatic": round(chromatic.mean(), 2),
            "oriented": round(oriented.mean(), 2),
            "of chromatic": round(oriented[chromatic].mean(), 2),
            **{f"{30 * bin}-{30 * bin + 30}": count for bin, count in enumerate(hues)},
        }
    return pd.DataFrame(rows).T.rename_axis(["part", "seed"])


def photograph_components(
    folder: Path, *, count: int = COMPONENTS, side: int = SIDE, seed: int = 0
) -> np.ndarray:
    """The filters (unit, channel, y, x) of the independent components of color photographs.

    Their responses have variance 1 over patches, and come in no order.
    """
    rng = np.random.default_rng(seed)
    patches = color_patches(folder, PATCHES, side, rng).reshape(PATCHES, -1)
    return independent_components(patches, count, rng).reshape(count, 3, side, side)


def basis(filters: np.ndarray) -> np.ndarray:
    """What each component adds to a patch (unit, channel, y, x); no other filter answers it."""
    rows = filters.reshape(len(filters), -1)
    return np.linalg.pinv(rows).T.reshape(filters.shape)


def color_patches(folder: Path, count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """(count, channel, y, x), 0 to 1, as many from each photograph, anywhere in it."""
    paths = photograph_files(folder)
    patches = np.empty((count, 3, side, side))
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
        for row in range(number, count, len(paths)):
            top, left = (rng.integers(length - side + 1) for length in pixels.shape[1:])
            patches[row] = pixels[:, top : top + side, left : left + side]
    return patches


def independent_components(data: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Filters (count, dimension) of the independent components of data (sample, dimension).

    FastICA with tanh, all components at once, on the ``count`` principal components of the largest
    variance; from a random start.

    Raises
    ------
    RuntimeError : if it does not converge.
    """
    centered = data - data.mean(0)
    variances, axes = np.linalg.eigh(centered.T @ centered / len(data))
    whitening = axes[:, -count:] / np.sqrt(variances[-count:])  # (dimension, count)
    white = centered @ whitening
    unmixing = decorrelated(rng.normal(size=(count, count)))
    for _ in range(MOST_STEPS):
        responses = np.tanh(white @ unmixing.T)  # (sample, count)
        slopes = 1 - (responses**2).mean(0)
        turned = decorrelated(responses.T @ white / len(data) - slopes[:, None] * unmixing)
        change = 1 - abs((turned * unmixing).sum(1)).min()
        unmixing = turned
        if change < TOLERANCE:
            return unmixing @ whitening.T
    raise RuntimeError(f"no convergence in {MOST_STEPS} steps; the last turned by {change:.2g}")


def decorrelated(rows: np.ndarray) -> np.ndarray:
    """The nearest orthonormal rows."""
    left, _, right = np.linalg.svd(rows, full_matrices=False)
    return left @ right


if __name__ == "__main__":
    main()
