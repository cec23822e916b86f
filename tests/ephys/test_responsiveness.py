"""Which units answer: planted units, scipy's analysis of variance, and the rate of false ones."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import ephys.responsiveness
from ephys.responsiveness import responsive
from ephys.stimuli.protocols import protocol
from ephys.visual_field import VisualField

EPS = np.finfo(float).eps
SHOWN = "presentation"
ORIENTATIONS, PHASES = np.arange(0, 180, 22.5), np.arange(0, 360, 45.0)


def recorded(
    response: np.ndarray,
    blank: np.ndarray,
    layers: list[str] | None = None,
    repeat: str = "phase",
    **attrs: float,
) -> xr.Dataset:
    """Responses (orientation, phase or another repeat, unit) as a recording has them."""
    orientation, phase = np.meshgrid(ORIENTATIONS, PHASES, indexing="ij")
    count = response.shape[-1]
    return xr.Dataset(
        {
            "response": (("stimulus", "unit"), response.reshape(-1, count)),
            "blank": ("unit", np.asarray(blank, response.dtype)),
        },
        {
            "family": ("stimulus", ["grating"] * orientation.size),
            "orientation": ("stimulus", orientation.ravel()),
            repeat: ("stimulus", phase.ravel()),
            "layer": ("unit", layers or ["conv"] * count),
            "channel": ("unit", np.arange(count)),
        },
        attrs,
    )


def planted() -> xr.Dataset:
    """Silent, flat, rounding, of twice the phase, simple, linear, both tuned, complex."""
    orientation, phase = np.meshgrid(ORIENTATIONS, PHASES, indexing="ij")
    wave = np.cos(np.deg2rad(phase))
    tuning = np.exp(4 * (np.cos(np.deg2rad(2 * (orientation - 45))) - 1))
    rounding = 0.3 + 1e-6 * tuning
    twice = np.cos(np.deg2rad(2 * phase))
    units = [0 * wave, 0 * wave + 0.3, rounding, twice, np.maximum(wave, 0), wave]
    units += [tuning * np.maximum(wave, 0), tuning * wave, tuning]
    return recorded(np.stack(units, -1), np.array([0, 0.3, 0.3, *[0] * 6]))


def test_planted_units_are_told_apart() -> None:
    found = responsive(planted())
    np.testing.assert_array_equal(found["answers"], [0, 0, 0, 1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(found["responsive"], [0, 0, 0, 0, 1, 1, 1, 1, 1])
    for name in ("p", "p_adjusted"):
        np.testing.assert_array_equal(np.isnan(found[name]), [1, 1, 1, 0, 0, 0, 0, 0, 0])
    # What is not there: of twice the phase, and of linear and complex cells.
    for effects, unit in [((0, 1, 2), 3), ((0,), 5), ((0,), 7)]:
        np.testing.assert_allclose(found["p_effect"][list(effects), unit], 1)
    # What is there, and nothing else: a shared wave, a wave of each condition, means.
    for effects, unit in [((1,), 5), ((1, 2), 7), ((0,), 8)]:
        assert (found["p_effect"][list(effects), unit] < 1e-100).all()


def test_a_simple_cell_is_found_though_it_answers_one_phase_of_four() -> None:
    """Its means are a quarter of its responses: less apart than what phase does."""
    axes = np.meshgrid(ORIENTATIONS, np.arange(1, 7) / 6, [0, 90, 180, 270], indexing="ij")
    orientation, contrast, phase = (axis.ravel() for axis in axes)
    tuning = contrast * np.exp(np.cos(np.deg2rad(2 * (orientation - 45))) - 1)
    response = np.where(phase == 90, tuning, 0)
    found = responsive(
        xr.Dataset(
            {"response": (("stimulus", "unit"), response[:, None]), "blank": ("unit", [0.0])},
            {
                name: ("stimulus", values)
                for name, values in zip(
                    ("orientation", "contrast", "phase"),
                    (orientation, contrast, phase),
                    strict=True,
                )
            },
        )
    )
    assert found["p_effect"].sel(effect="condition") > 0.5
    assert found["responsive"].item()
    # Of the squares around the mean of a condition, 3/4 a^2, the waves have 1/2 and scatter 1/4;
    # of the 48 waves' squares that of the mean wave is shared. 48 degrees of freedom are left.
    largest = tuning[phase == 90]
    f = (0.5 * 48 * largest.mean() ** 2 / 2) / (0.25 * (largest**2).sum() / 48)
    assert found["f"].sel(effect="phase").item() == pytest.approx(f)


def test_a_linear_unit_is_found_by_what_a_drift_does_to_it() -> None:
    """Frames of a drifting grating, of which each is a phase."""
    stimuli = protocol("direction", VisualField(32, 32, 8)).stimuli
    table = stimuli.table
    turns = table["temporal_frequency"].values * table["time"].values
    tuning = np.exp(np.cos(np.deg2rad(table["direction"].values - 60)))
    wave = np.cos(2 * np.pi * turns)
    response = np.stack([wave, tuning * wave, np.maximum(wave, 0), np.cos(4 * np.pi * turns)], -1)
    coords = {name: ("stimulus", values.values) for name, values in table.items()}
    found = responsive(
        xr.Dataset(
            {"response": (("stimulus", "unit"), response), "blank": ("unit", np.zeros(4))}, coords
        )
    )
    np.testing.assert_array_equal(found["responsive"], [1, 1, 1, 0])


def test_a_condition_with_a_missing_phase_has_no_wave() -> None:
    rng = np.random.default_rng(33)
    whole = recorded(rng.normal(size=(8, 8, 3)), np.zeros(3))
    torn = whole.assign_coords(phase=whole["phase"].where(whole["stimulus"] != 3))
    assert responsive(torn)["p"].notnull().all()
    scattered = torn.assign_coords(phase=torn["phase"].where(torn["stimulus"] > 7))
    xr.testing.assert_allclose(responsive(torn), responsive(scattered))


def test_by_their_means_alone_linear_units_are_the_blank() -> None:
    shown = planted().rename(phase="presentation")
    found = responsive(shown, repeats=["presentation"])
    np.testing.assert_array_equal(found["responsive"], [0, 0, 0, 0, 0, 0, 1, 0, 1])
    np.testing.assert_allclose(found["p"][[3, 5, 7]], 1)


@pytest.mark.parametrize("phases", [[0, 180], [0, 120, 240], [0, 120, 240, 360]])
def test_fewer_than_four_phases_have_no_harmonic(phases: list[float]) -> None:
    """Three would be fit by any three numbers."""
    rng = np.random.default_rng(30)
    orientation, phase = np.meshgrid(ORIENTATIONS, phases, indexing="ij")
    response = rng.normal(size=(8, len(phases), 5))
    response[:, np.mod(phases, 360) == 0] = response[:, :1]
    shown = xr.Dataset(
        {
            "response": (("stimulus", "unit"), response.reshape(-1, 5)),
            "blank": ("unit", np.zeros(5)),
        },
        {"orientation": ("stimulus", orientation.ravel()), "phase": ("stimulus", phase.ravel())},
    )
    renamed = responsive(shown.rename(phase="repeat"), repeats=["repeat"])
    xr.testing.assert_identical(responsive(shown), renamed)


def test_f_and_p_are_those_of_nested_least_squares() -> None:
    """Conditions of 8, 5 and 3 phases anywhere on the circle, and one in which two are the same."""
    rng = np.random.default_rng(32)
    phase = np.concatenate([rng.uniform(0, 360, 16), [0, 90, 180, 270, 360]])
    condition = np.repeat([0, 1, 2, 3], [8, 5, 3, 5])
    response, blank = rng.normal(size=(21, 4)), rng.normal(size=4)
    response += np.cos(np.deg2rad(phase - 40))[:, None] * [0, 0.5, 1, 2]
    columns = [condition == c for c in range(4)]
    for c in (0, 1, 3):
        columns += [(condition == c) * wave(np.deg2rad(phase)) for wave in (np.cos, np.sin)]
    design = np.zeros((22, 11))
    design[:21, :10], design[21, 10] = np.stack(columns, -1), 1
    shared = np.zeros((22, 2))
    shared[:21] = np.stack([np.cos(np.deg2rad(phase)), np.sin(np.deg2rad(phase))], -1)
    shared[:21][condition == 2] = 0
    observed = np.append(response, blank[None], axis=0)
    order = rng.permutation(21)
    found = responsive(
        xr.Dataset(
            {"response": (("stimulus", "unit"), response[order]), "blank": ("unit", blank)},
            {"c": ("stimulus", condition[order]), "phase": ("stimulus", phase[order])},
        )
    )

    def left(*columns: np.ndarray) -> np.ndarray:
        fitted = np.column_stack(columns)
        return ((observed - fitted @ np.linalg.lstsq(fitted, observed)[0]) ** 2).sum(0)

    levels = design[:, [0, 1, 2, 3, 10]]
    nested = [left(np.ones(22)), left(levels), left(levels, shared), left(design)]
    freedom = np.array([4, 2, 4])[:, None]
    f = -np.diff(nested, axis=0) / freedom / (nested[-1] / 11)
    np.testing.assert_allclose(found["f"], f, rtol=1000 * EPS)
    np.testing.assert_allclose(found["p_effect"], stats.f.sf(f, freedom, 11), rtol=1e-10)
    np.testing.assert_array_equal(found["p"], np.minimum(1, 3 * found["p_effect"].min("effect")))


def test_excess_is_a_share_of_the_largest_response_of_the_layer() -> None:
    response = np.zeros((8, 8, 5))
    response[2, 3] = [0.5, -2, 1, 0.1, 0]
    found = responsive(
        recorded(response, np.array([0, 0, 1.5, 0.4, 0]), ["a", "a", "a", "b", "silent"])
    )
    np.testing.assert_allclose(found["excess"], [0.25, 1, 0.75, 1, np.nan], rtol=4 * EPS)
    np.testing.assert_array_equal(found["answers"], [1, 1, 1, 1, 0])


@pytest.mark.parametrize(
    ("step", "margin", "error", "answers"),
    [
        (1.1e-4, None, 0.0, False),  # 1000 * 2^-23 = 1.19e-4
        (1.3e-4, None, 0.0, True),
        (1.3e-4, None, 0.01, False),
        (0.02, None, 0.01, True),
        (0.02, 0.05, 0.0, False),
        (1e-9, 0.0, 0.0, True),
        (0, 0.0, 0.0, False),
    ],
)
def test_the_margin_is_the_rounding_the_noted_error_or_what_is_asked(
    step: float, margin: float | None, error: float, answers: bool
) -> None:
    response = np.ones((8, 8, 1))
    response[0, :, 0] -= step
    found = responsive(recorded(response, np.ones(1), error=error), margin=margin)
    assert found["answers"].item() == answers
    assert found.attrs["margin"] == (max(1000 * 2**-23, error) if margin is None else margin)


def test_f_and_p_are_scipys() -> None:
    rng = np.random.default_rng(1)
    response = rng.gamma(2, size=(8, 8, 6)) + np.linspace(0, 1, 8)[:, None, None]
    blank = rng.gamma(2, size=6)
    found = responsive(recorded(response, blank, repeat=SHOWN), repeats=[SHOWN])
    for unit in range(6):
        expected = stats.f_oneway(*response[:, :, unit], [blank[unit]])
        assert found["f"][0, unit].item() == pytest.approx(expected.statistic, rel=1000 * EPS)
        assert found["p"][unit].item() == pytest.approx(expected.pvalue, rel=1e-10)
    adjusted = stats.false_discovery_control(found["p"].values)
    np.testing.assert_allclose(found["p_adjusted"], adjusted, rtol=8 * EPS)
    np.testing.assert_array_equal(found["responsive"], adjusted <= 0.05)


def test_p_of_the_permutations_is_that_of_scipys_f() -> None:
    rng = np.random.default_rng(2)
    response, blank = rng.gamma(1, size=(8, 8, 2)), np.ones(2)
    response[:3, :, 1] *= 4
    resamples = 2000
    shown = recorded(response, blank, repeat=SHOWN)
    found = responsive(shown, repeats=[SHOWN], test="permutation", resamples=resamples)
    splits = np.arange(8, 65, 8)
    for unit in range(2):
        values = np.append(response[:, :, unit], blank[unit])
        draws = rng.permuted(np.tile(values, (resamples, 1)), axis=-1)
        f = stats.f_oneway(*np.split(draws, splits, axis=-1), axis=-1).statistic
        reference = (f >= found["f"][0, unit].item()).mean()
        error = 5 * np.sqrt(2 * reference * (1 - reference) / resamples)
        assert found["p"][unit].item() == pytest.approx(reference, abs=error)
    assert found["p"][1] < 0.05 < found["p"][0]


def test_two_conditions_apart_are_as_far_apart_in_one_split_of_five() -> None:
    """Both of the larger two of five responses, the blank's too, in one condition."""
    response = np.zeros((8, 8, 1))
    response[1] = 0.1
    four = recorded(response, np.zeros(1)).isel(stimulus=[0, 1, 8, 9])
    found = responsive(four, test="permutation", resamples=3000)
    assert found["p"].item() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 3000))


def test_no_p_of_permutations_is_zero_and_ties_count() -> None:
    found = responsive(planted(), test="permutation", resamples=200)
    assert found["p_effect"][0, 8] == 1 / 201
    rng = np.random.default_rng(13)
    whole = rng.integers(0, 3, size=(8, 8, 20)).astype(float)
    of_whole, of_tenths = (
        responsive(recorded(response, np.zeros(20)), test="permutation", resamples=500)["p"]
        for response in (whole, whole / 10)  # tenths are not exact
    )
    np.testing.assert_array_equal(of_whole, of_tenths)


# Simulations: every unit is an experiment.


@pytest.mark.parametrize("test", ["anova", "permutation"])
def test_p_is_uniform_for_units_that_only_scatter(test: str) -> None:
    experiments, resamples = 500, 1000
    rng = np.random.default_rng(4)
    response, blank = rng.normal(size=(8, 8, experiments)), rng.normal(size=experiments)
    found = responsive(recorded(response, blank), test=test, resamples=resamples)  # type: ignore[arg-type]
    shared = 4 * 0.5 / np.sqrt(resamples) if test == "permutation" else 0  # of the resamples
    for p in found["p_effect"].values:
        distance = stats.kstest(p, "uniform").statistic
        assert distance < stats.kstwo.isf(1e-3, experiments) + shared
    # That of three effects is too large, if anything.
    assert (found["p"] <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments) + shared
    assert found["answers"].all()


def test_units_that_only_scatter_are_seldom_responsive() -> None:
    """In one layer of twenty, as the adjusted p says; of 40 units each."""
    rng, layers = np.random.default_rng(5), 100
    any_false = np.array(
        [
            responsive(recorded(rng.normal(size=(8, 8, 40)), rng.normal(size=40)))[
                "responsive"
            ].any()
            for _ in range(layers)
        ]
    )
    assert any_false.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / layers))


def test_the_power_is_that_of_f() -> None:
    experiments, effect = 500, 0.55
    rng = np.random.default_rng(6)
    means = effect * np.array([1, 0, 0, 0, -1, 0, 0, 0])
    response = rng.normal(size=(8, 8, experiments)) + means[:, None, None]
    shown = recorded(response, rng.normal(size=experiments), repeat=SHOWN)
    found = responsive(shown, repeats=[SHOWN])
    power = stats.ncf.sf(stats.f.isf(0.05, 8, 56), 8, 56, 8 * 2 * effect**2)
    error = np.sqrt(power * (1 - power) / experiments)
    assert 0.2 < power < 0.8
    assert (found["p"] <= 0.05).mean().item() == pytest.approx(power, abs=4 * error)


# Laws.


def test_stimuli_need_no_order_and_no_grid() -> None:
    rng = np.random.default_rng(8)
    whole = recorded(rng.gamma(1, size=(8, 8, 5)), rng.gamma(1, size=5), repeat=SHOWN)
    order = rng.permutation(64)[:50]
    found = responsive(whole.isel(stimulus=order), repeats=[SHOWN])
    sorted_ = responsive(whole.isel(stimulus=np.sort(order)), repeats=[SHOWN])
    xr.testing.assert_allclose(found, sorted_, rtol=1e-11)
    unit = whole["response"][:, 0].values
    groups = [
        unit[i * 8 : i * 8 + 8][np.isin(np.arange(i * 8, i * 8 + 8), order)] for i in range(8)
    ]
    expected = stats.f_oneway(*groups, whole["blank"].values[:1]).pvalue
    assert found["p"][0].item() == pytest.approx(expected, rel=1e-10)


def test_families_and_parameters_that_were_not_given_make_conditions() -> None:
    rng = np.random.default_rng(9)
    one = recorded(rng.gamma(1, size=(8, 8, 3)), np.zeros(3), repeat=SHOWN)
    other = one.assign_coords(
        family=("stimulus", ["plaid"] * 64), mask_phase=("stimulus", one[SHOWN].data)
    ).assign(response=2 + one["response"])
    one = one.assign_coords(mask_phase=("stimulus", np.full(64, np.nan)))
    both = xr.concat([one, other], "stimulus", data_vars="minimal")
    found = responsive(both, repeats=[SHOWN, "mask_phase"])
    for unit in range(3):
        groups = both["response"].values[:, unit].reshape(16, 8)
        expected = stats.f_oneway(*groups, [0.0])
        assert found["f"][0, unit].item() == pytest.approx(expected.statistic, rel=1000 * EPS)


@pytest.mark.parametrize("test", ["anova", "permutation"])
def test_units_are_judged_as_each_is_alone(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    responses = recorded(rng.gamma(1, size=(8, 8, 5)), rng.gamma(1, size=5))
    options = {"test": test, "resamples": 50}
    together = responsive(responses, **options)  # type: ignore[arg-type]
    for unit in range(5):
        alone = responsive(responses.isel(unit=[unit]), **options)  # type: ignore[arg-type]
        for name in ("f", "p"):
            np.testing.assert_array_equal(together[name][..., unit], alone[name][..., 0])
    monkeypatch.setattr(ephys.responsiveness, "IN_CACHE", 130)  # two units at a time
    xr.testing.assert_identical(responsive(responses, **options), together)  # type: ignore[arg-type]


def test_a_layer_is_as_large_as_it_is_and_float32_as_good() -> None:
    response = np.random.default_rng(11).gamma(1, size=(8, 8, 5))
    one = responsive(recorded(response, np.ones(5)))
    large = responsive(recorded(1024 * response, 1024 * np.ones(5)))
    xr.testing.assert_identical(one, large)
    single = responsive(recorded(response.astype(np.float32), np.ones(5)))
    # F moves by what 65 responses are rounded by, relative to their scatter, which is about 1.
    np.testing.assert_allclose(single["f"], one["f"], rtol=65 * 2.0**-23)


def test_units_with_a_missing_response_do_not_answer_and_leave_the_others_alone() -> None:
    rng = np.random.default_rng(12)
    responses = recorded(rng.gamma(1, size=(8, 8, 4)), rng.gamma(1, size=4))
    others = responsive(responses.isel(unit=[0, 2, 3]))
    responses["response"][3, 1] = np.nan
    found = responsive(responses)
    for name in ("excess", "f", "p", "p_adjusted"):
        assert np.isnan(found[name][..., 1]).all()
    assert not found["answers"][1]
    assert not found["responsive"][1]
    # Its test does not count among the others'.
    np.testing.assert_array_equal(found["p_adjusted"][[0, 2, 3]], others["p_adjusted"])
    responses["response"][3, 1], responses["blank"][1] = 0, np.nan
    assert not responsive(responses)["answers"][1]


def test_coordinates_of_units_stay() -> None:
    found = responsive(planted())
    assert set(found.coords) == {"layer", "channel", "effect"}
    assert all(v.dims[-1] == "unit" for v in found.values())
    assert found["answers"].dtype == found["responsive"].dtype == bool


def test_a_dask_array_is_judged_as_its_numbers() -> None:
    responses = planted()
    found = responsive(responses.chunk(unit=3, stimulus=10))
    assert not found.chunks
    xr.testing.assert_identical(found, responsive(responses))


# Refusals.


def test_conditions_that_were_shown_once_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of 64 conditions was shown once.*repeats=\['x'\]"):
        responsive(planted(), repeats=["x"])


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 5), ("alpha", 0), ("margin", -1), ("margin", 1), ("resamples", 0)]
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}={value} is"):
        responsive(planted(), **{name: value})  # type: ignore[arg-type]


def test_unknown_tests_and_methods_are_refused() -> None:
    with pytest.raises(KeyError, match="test='t' is none of anova, permutation"):
        responsive(planted(), test="t")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="method='sidak' is none of"):
        responsive(planted(), method="sidak")  # type: ignore[arg-type]


def test_units_are_tested_some_at_a_time_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(31)
    many = recorded(rng.gamma(1.0, size=(8, 8, 7)), np.zeros(7), [*"aabbbcc"])
    whole = responsive(many)
    monkeypatch.setattr("ephys.responses.BLOCK_VALUES", 3 * many.sizes["stimulus"])
    xr.testing.assert_identical(responsive(many), whole)
