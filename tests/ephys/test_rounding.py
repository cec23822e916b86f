"""How far responses may differ and be the same."""

import dask
import numpy as np
import pytest
import xarray as xr

from ephys.rounding import SHARE, layer_rounding, rounding_share, unit_rounding


def responses() -> xr.Dataset:
    """Of a unit with a large response, of a negative one, of a blank, and of none."""
    values = np.array([[3.0, -1, 0.5, 0], [1, -8, 0.5, 0]])
    return xr.Dataset(
        {"response": (("stimulus", "unit"), values), "blank": ("unit", [0, 2.0, -4, 0])},
        {"contrast": ("stimulus", [0.1, 0.2]), "channel": ("unit", range(4))},
    )


def test_it_is_a_thousand_last_places_or_the_error_that_was_noted() -> None:
    assert pytest.approx(1.19e-4, rel=0.01) == SHARE
    assert rounding_share(responses()) == SHARE
    assert rounding_share(responses().assign_attrs(error=1e-6)) == SHARE
    assert rounding_share(responses().assign_attrs(error=0.02)) == 0.02


def test_it_is_by_the_largest_response_of_a_unit_or_of_its_layer() -> None:
    coarse = responses().assign_attrs(error=0.5)
    assert unit_rounding(coarse).values.tolist() == [1.5, 4, 2, 0]
    assert layer_rounding(coarse) == 4


def test_a_missing_response_is_passed_over() -> None:
    coarse = responses().assign_attrs(error=0.5)
    coarse["response"][0, 0] = np.nan
    coarse["response"][:, 2] = np.nan
    found = unit_rounding(coarse)
    assert found.values[[0, 1, 3]].tolist() == [0.5, 4, 0]
    assert np.isnan(found[2])
    assert layer_rounding(coarse) == 4


def test_of_a_dask_array_it_is_a_dask_array() -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        lazy = unit_rounding(responses().chunk(unit=2))
    xr.testing.assert_identical(lazy.compute(), unit_rounding(responses()))
