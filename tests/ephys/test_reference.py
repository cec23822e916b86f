"""The reference is the cell that the published constants describe."""

import numpy as np
import pytest
from scipy.optimize import brentq

from ephys.reference import MARMOSET_RELATIVE_WIDTH, parametric_tuning

CONTRASTS = np.array([0.1, 0.5, 0.75, 0.9])


def crossing(curve: np.ndarray, distance: np.ndarray, level: float) -> float:
    """Degrees from the peak at which a falling curve reaches a share of its height."""
    right = distance >= 0
    # Linear in the squared distance is a Gaussian's logarithm, so this is no approximation.
    log_curve = np.log(curve[right] / curve.max())
    return float(np.sqrt(np.interp(-np.log(level), -log_curve, distance[right] ** 2)))


def test_the_peaks_are_those_of_the_published_contrast_response() -> None:
    peaks = parametric_tuning(CONTRASTS).max("relative_orientation")
    # c^2.9 / (c^2.9 + 0.193^2.9), Albrecht & Hamilton (1982).
    np.testing.assert_allclose(peaks, [0.129, 0.941, 0.981, 0.989], rtol=0, atol=5e-4)


def test_half_of_the_largest_response_is_reached_at_the_semi_saturation_contrast() -> None:
    def gain(contrast: float) -> float:
        return float(parametric_tuning(np.array([contrast])).max())

    assert brentq(lambda contrast: gain(contrast) - 0.5, 0.01, 1) == pytest.approx(0.193)
    # A straight line of slope 2.9 in log contrast, far below saturation.
    assert np.log2(gain(0.002) / gain(0.001)) == pytest.approx(2.9, abs=1e-4)


@pytest.mark.parametrize("relative_width", [1.0, 0.5, *MARMOSET_RELATIVE_WIDTH.values()])
def test_the_half_width_is_23_degrees_times_the_relative_width(relative_width: float) -> None:
    curves = parametric_tuning(CONTRASTS, relative_width=relative_width)
    for curve in curves:
        width = crossing(curve.values, curve["relative_orientation"].values, 0.5)
        assert width == pytest.approx(23 * relative_width)  # Carandini & Ferster (2000)


def test_contrast_only_scales_the_curve() -> None:
    curves = parametric_tuning(CONTRASTS)
    shapes = curves / curves.max("relative_orientation")
    np.testing.assert_allclose(shapes, np.broadcast_to(shapes[0], shapes.shape), rtol=1e-12)


def test_the_curve_is_symmetric_about_the_preferred_orientation() -> None:
    curves = parametric_tuning(CONTRASTS)
    np.testing.assert_array_equal(curves.values, curves.values[:, ::-1])
    assert (curves.idxmax("relative_orientation") == 0).all()


def test_the_axes_say_what_they_are() -> None:
    curves = parametric_tuning(CONTRASTS)
    assert curves.dims == ("contrast", "relative_orientation")
    np.testing.assert_array_equal(curves["contrast"], CONTRASTS)
    assert curves["relative_orientation"][[0, -1]].values.tolist() == [-90, 90]
    assert curves["relative_orientation"].attrs["units"] == "degree"


def test_no_contrast_no_response() -> None:
    assert not parametric_tuning(np.array([0.0])).any()
