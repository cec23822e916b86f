"""Noise: every check is where it was asked for, and every seed one pattern for ever."""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ephys.stimuli import blank, grating, sweep
from ephys.stimuli.noises import (
    check_filtered_noise,
    check_sparse_noise,
    check_white_noise,
    filtered_noise,
    range_filtered_noise,
    range_sparse_noise,
    sparse_noise,
    white_noise,
)
from ephys.visual_field import VisualField

WIDE = VisualField(40, 48, 16.0)  # 2.5 x 3 degrees: neither square, nor of an odd size
ODD = VisualField(31, 33, 10.0)
PIXEL = 1 / 16


def only(modulations: Tensor) -> np.ndarray:
    assert len(modulations) == 1
    return modulations[0].numpy()


def philox(key: int, blocks: int) -> list[int]:
    """Philox4x64 with 10 rounds as in the paper, counting from 1: 64-bit words."""
    words = []
    for counter in range(1, blocks + 1):
        words += philox_block((counter, 0, 0, 0), (key, 0))
    return words


def philox_block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    mask, x, k = 2**64 - 1, list(counter), list(key)
    for _ in range(10):
        high_0, low_0 = divmod(0xD2E7470EE14C6C93 * x[0], 2**64)
        high_1, low_1 = divmod(0xCA5A826395121157 * x[2], 2**64)
        x = [high_1 ^ x[1] ^ k[0], low_1, high_0 ^ x[3] ^ k[1], low_0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return x


def pattern(seed: int, checks: int) -> np.ndarray:
    """1 for light and -1 for dark, as it is seen: the first row is the highest."""
    words = philox(seed, -(-checks * checks // 256))
    bits = [word >> place & 1 for word in words for place in range(64)]
    return np.flipud(2 * np.reshape(bits[: checks * checks], (checks, checks)) - 1)


# White noise.


def test_the_generator_of_this_test_is_philox() -> None:
    # The first known answer of the authors' Random123 library, tests/kat_vectors.
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox_block((0, 0, 0, 0), (0, 0)) == known


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**53])
def test_white_noise_is_the_bits_of_its_seed_on_a_square_around_its_middle(seed: int) -> None:
    drawn = only(
        white_noise(
            WIDE, seed=seed, check_size=2 * PIXEL, side=2, contrast=0.5, x=PIXEL, y=-2 * PIXEL
        )
    )
    expected = np.zeros((40, 48))
    expected[6:38, 9:41] = 0.5 * np.kron(pattern(seed, 16), np.ones((2, 2)))
    np.testing.assert_array_equal(drawn, expected)


def test_a_seed_is_the_same_pattern_at_every_scale() -> None:
    small = only(white_noise(WIDE, seed=7, check_size=PIXEL, side=10 * PIXEL))
    large = only(white_noise(WIDE, seed=7, check_size=4 * PIXEL, side=40 * PIXEL))
    magnified = np.kron(small[15:25, 19:29], np.ones((4, 4)))
    np.testing.assert_array_equal(large[:, 4:44], magnified)


def test_parameters_differ_from_stimulus_to_stimulus() -> None:
    columns: dict[str, Any] = {
        "seed": [3, 3, 4],
        "check_size": np.array([1, 2, 3]) * PIXEL,
        "side": np.array([5, 8, 9]) * PIXEL,
        "contrast": [1.0, 0.3, 0.6],
        "x": [0, 0.3, -1],
        "y": [0.2, 0, 1],
    }
    together = white_noise(WIDE, **columns)
    for i in range(3):
        alone = white_noise(WIDE, **{name: values[i] for name, values in columns.items()})
        assert torch.equal(together[i], alone[0])


@given(contrast=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_light_and_dark_checks_are_the_contrast_to_either_side(contrast: float) -> None:
    drawn = only(white_noise(ODD, seed=5, check_size=0.1, side=2, contrast=contrast))
    assert drawn[0, 0] == 0
    np.testing.assert_array_equal(
        np.unique(abs(drawn)), np.unique(np.array([0, contrast], np.float32))
    )
    assert (drawn > 0).any() == (drawn < 0).any() == (np.float32(contrast) > 0)


def test_checks_are_fair_coins_independent_of_each_other_and_of_other_seeds() -> None:
    seeds, checks = 500, 20
    images = white_noise(
        VisualField(checks, checks, 1.0), seed=np.arange(seeds), check_size=1, side=checks
    )
    coins = images.double().numpy()  # (seed, row, column)
    products = {
        "none": coins,
        "right": coins[:, :, 1:] * coins[:, :, :-1],
        "up": coins[:, 1:] * coins[:, :-1],
        "diagonal": coins[:, 1:, 1:] * coins[:, :-1, :-1],
        "next seed": coins[1:] * coins[:-1],
    }
    for name, product in products.items():
        # The mean of n fair coins has an s.d. of 1 / sqrt(n).
        assert abs(product.mean()) < 4.5 / np.sqrt(product.size), name
    places = coins.mean(0) * np.sqrt(seeds)
    assert (places**2).sum() == pytest.approx(checks**2, abs=4.5 * np.sqrt(2) * checks)


@given(
    pixels=st.floats(1, 6),
    count=st.integers(1, 12),
    x=st.floats(-1, 1),
    y=st.floats(-1, 1),
)
@settings(max_examples=60, deadline=None)
def test_a_pixel_shows_the_check_that_its_centre_is_in(
    pixels: float, count: int, x: float, y: float
) -> None:
    """Worked out in whole fractions, for each row and each column."""
    field, size = ODD.centered_on(x, y), pixels / 10
    coordinates = []
    for axis in (field.x, field.y):
        places = [
            (Fraction(at) + Fraction(count) * Fraction(size) / 2) / Fraction(size)
            for at in axis.tolist()
        ]
        assume(all(abs(place - round(place)) > Fraction(1, 10**5) for place in places))
        coordinates.append([int(p // 1) if 0 <= p < count else None for p in places])
    columns, rows = coordinates
    shown = np.flipud(pattern(9, count))  # the first row is the lowest
    expected = [[0 if r is None or c is None else shown[r, c] for c in columns] for r in rows]
    image = only(white_noise(field, seed=9, check_size=size, side=count * size))
    np.testing.assert_array_equal(image, expected)


def test_an_edge_through_a_pixels_centre_leaves_it_to_the_check_on_the_right_and_above() -> None:
    # Of an odd field the middle pixel is at the origin, where two by two checks meet.
    image = only(white_noise(ODD, seed=2, check_size=0.2, side=0.4))
    expected = np.zeros((31, 33))
    # 2 pixels per check: left and below of the origin -0.2 and -0.1, right and above 0 and 0.1.
    expected[14:18, 14:18] = np.kron(pattern(2, 2), np.ones((2, 2)))
    np.testing.assert_array_equal(image, expected)


@given(
    pixels_per_degree=st.sampled_from([3.7, 10.0, 15.0, 28.0, 100 / 3]),
    columns=st.integers(14, 31),
    half_pixels=st.tuples(st.integers(-4, 4), st.integers(-4, 4)),
    count=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_a_check_of_one_pixel_is_one_pixel_wherever_its_edges_are(
    pixels_per_degree: float, columns: int, half_pixels: tuple[int, int], count: int
) -> None:
    """Also where rounding puts the edges on either side of the pixels' centres."""
    pixel = 1 / pixels_per_degree
    field = VisualField(20, columns, pixels_per_degree)
    field = field.centered_on(*(half * pixel / 2 for half in half_pixels))
    stimuli = sweep(white_noise, seed=1, check_size=pixel, side=count * pixel)
    together = stimuli.check_pixels(field)[0]
    high, wide = (together > 0).any(1).sum(), (together > 0).any(0).sum()
    assert set(np.unique(together)) <= {0, 1}
    assert together.sum() == high * wide
    if count <= 8:  # the field does not end before
        assert (high, wide) == (count, count)
    if count == 40:
        assert together.all()


# Sparse noise.


def test_sparse_noise_is_one_spot_around_its_place() -> None:
    # 1/8 to 3/8 degrees right and 1/2 to 3/4 below the origin: columns 26 to 29, rows 28 to 31.
    drawn = sparse_noise(
        WIDE, x=0.25, y=-0.625, check_size=0.25, polarity=[1, -1], contrast=[0.5, 0.25]
    )
    expected = np.zeros((2, 40, 48))
    expected[0, 28:32, 26:30] = 0.5
    expected[1, 28:32, 26:30] = -0.25
    np.testing.assert_array_equal(drawn, expected)


def test_a_spot_reaches_to_one_side_of_the_background() -> None:
    low, high = range_sparse_noise(polarity=[1, -1, 1], contrast=[0.5, 0.25, 0])
    np.testing.assert_array_equal(low, [0, -0.25, 0])
    np.testing.assert_array_equal(high, [0.5, 0, 0])


@pytest.mark.parametrize("pixels", [1, 1.5, 2, 3.25])
@pytest.mark.parametrize("field", [WIDE, ODD], ids=["even", "odd"])
def test_spots_at_all_places_of_a_grid_cover_every_pixel_once(
    field: VisualField, pixels: float
) -> None:
    size = pixels / field.pixels_per_degree
    places = (np.arange(-25, 26)) * size
    x, y = (grid.ravel() for grid in np.meshgrid(places, places))
    lit = (sparse_noise(field, x=x, y=y, check_size=size) > 0).sum(0)
    assert (lit == 1).all()


# Filtered noise.

NOISE: dict[str, Any] = {
    "seed": 3,
    "low_frequency": 0.5,
    "high_frequency": 4,
    "period": 4,
    "rms_contrast": 0.2,
}
TORUS = VisualField(64, 64, 16.0)  # the whole period


def box_muller(seed: int, most: int) -> dict[tuple[int, int], complex]:
    """Gaussian numbers ring by ring, counter-clockwise from (n, 0) to before (-n, 0)."""
    words = iter(philox(seed, most * (most + 1)))  # 2 words a wave, 4 a block
    found = {}
    for n in range(1, most + 1):
        ring = [(n, k) for k in range(n)]
        ring += [(j, n) for j in range(n, -n, -1)]
        ring += [(-n, k) for k in range(n, 0, -1)]
        for wave in ring:
            first, second = next(words) >> 11, next(words) >> 11
            length = math.sqrt(-2 * math.log(1 - first / 2**53))
            found[wave] = cmath.rect(length, 2 * math.pi * second / 2**53)
    return found


def spectrum(modulation: np.ndarray) -> np.ndarray:
    """Of one period: complex amplitudes of cycles to the right and upward, 0 in the middle."""
    upward = np.flipud(modulation.astype(float))
    return np.fft.fftshift(np.fft.fft2(upward) / upward.size)


def cycles(size: int) -> tuple[np.ndarray, np.ndarray]:
    n = np.arange(size) - size // 2
    return np.meshgrid(n, n)


@pytest.mark.parametrize("slope", [0, 1, 2.5])
def test_filtered_noise_is_the_sum_of_its_waves(slope: float) -> None:
    """One by one, from the authors' generator to the cosines, around a place off the middle."""
    low, high, period, x, y = 1, 2, 2.6, 0.3, -0.2  # in which 2.6 to 5.2 cycles
    waves = {
        (j, k): z * math.hypot(j, k) ** -slope
        for (j, k), z in box_muller(8, 5).items()
        if 2.6 <= math.hypot(j, k) <= 5.2
    }
    assert len(waves) > 20
    expected = np.zeros((31, 33))
    for (j, k), z in waves.items():
        turns = (j * (ODD.x - x) + k * (ODD.y[:, None] - y)) / period
        expected += abs(z) * np.cos(2 * np.pi * turns + cmath.phase(z))
    expected *= 0.3 / math.sqrt(sum(abs(z) ** 2 / 2 for z in waves.values()))
    drawn = filtered_noise(
        ODD,
        seed=8,
        low_frequency=low,
        high_frequency=high,
        period=period,
        rms_contrast=0.3,
        spectral_slope=slope,
        x=x,
        y=y,
    )
    # float32 of numbers to 2; some 100 waves in float64 are a thousand times more exact.
    np.testing.assert_allclose(only(drawn), expected, rtol=0, atol=2.0**-24)


@given(
    seed=st.integers(0, 2**53),
    low=st.floats(0, 5),
    octaves=st.floats(0.5, 3),
    slope=st.floats(-1, 3),
    rms=st.floats(0.01, 1),
)
@settings(max_examples=25, deadline=None)
def test_noise_has_its_contrast_and_nothing_outside_its_band(
    seed: int, low: float, octaves: float, slope: float, rms: float
) -> None:
    high = min(max(low, 0.5) * 2**octaves, 7.9)
    noise = only(
        filtered_noise(
            TORUS,
            seed=seed,
            low_frequency=low,
            high_frequency=high,
            period=4,
            rms_contrast=rms,
            spectral_slope=slope,
        )
    )
    assert np.sqrt((noise.astype(float) ** 2).mean()) == pytest.approx(rms, rel=1e-6)
    j, k = cycles(64)
    frequency = np.hypot(j, k) / 4
    outside = (frequency < low) | (frequency > high) | (frequency == 0)
    # float32 rounds modulations of up to 6 s.d. by 2^-24 of themselves, at random.
    assert abs(spectrum(noise))[outside].max() < 1e-7 * rms
    assert np.count_nonzero(~outside) > 0


@pytest.mark.parametrize("slope", [0, 1, 1.7])
def test_power_falls_with_frequency_by_the_slope(slope: float) -> None:
    noise = filtered_noise(TORUS, **NOISE | {"seed": np.arange(300), "spectral_slope": slope})
    power = np.mean([abs(spectrum(one)) ** 2 for one in noise.numpy()], axis=0)
    j, k = cycles(64)
    radius = np.hypot(j, k)
    used = (radius >= 2) & (radius <= 16) & ((k > 0) | ((k == 0) & (j > 0)))
    # Each is a mean of 300 exponential numbers, of a relative s.d. of 1 / sqrt(300).
    relative = power[used] * radius[used] ** (2 * slope)
    relative /= relative.mean()
    error = 1 / np.sqrt(300)
    assert relative.std() == pytest.approx(error, rel=0.2)
    logarithm = np.log(radius[used])
    fitted = np.polyfit(logarithm, np.log(power[used]), 1)[0]
    spread = error / (logarithm.std() * np.sqrt(used.sum()))
    assert fitted == pytest.approx(-2 * slope, abs=4.5 * spread)


def test_amplitudes_are_gaussian_and_waves_independent() -> None:
    noise = filtered_noise(TORUS, **NOISE | {"seed": np.arange(400), "high_frequency": 2})
    spectra = np.array([spectrum(one) for one in noise.numpy()])
    j, k = cycles(64)
    used = (np.hypot(j, k) >= 2) & (np.hypot(j, k) <= 8) & ((k > 0) | ((k == 0) & (j > 0)))
    waves = spectra[:, used]
    waves /= np.sqrt((abs(waves) ** 2).mean())
    n = waves.size
    real = np.sqrt(2) * waves.real.ravel()
    for name, values, mean, variance in [
        ("mean", real, 0, 1),
        ("fourth moment", real**4, 3, 96),
        ("real by imaginary", real * np.sqrt(2) * waves.imag.ravel(), 0, 1),
        ("neighbors", (waves[:, 1:] * waves[:, :-1].conj()).real, 0, 0.5),
        ("next seed", (waves[1:] * waves[:-1].conj()).real, 0, 0.5),
    ]:
        # n and not values.size, which is 1 % smaller: the bound is wide.
        assert abs(values.mean() - mean) < 4.7 * np.sqrt(variance / n), name


def test_a_seed_keeps_its_waves_in_another_band() -> None:
    """But for the scale of all, which is that of the contrast."""
    whole, part = (
        spectrum(only(filtered_noise(TORUS, **NOISE | {"high_frequency": high})))
        for high in (7.5, 2)
    )
    j, k = cycles(64)
    shared = (np.hypot(j, k) >= 2) & (np.hypot(j, k) <= 8)
    ratio = whole[shared] / part[shared]
    np.testing.assert_allclose(ratio, np.full(ratio.size, ratio.real.mean()), rtol=1e-3)


def test_noise_comes_again_after_a_period() -> None:
    noise = filtered_noise(TORUS, **NOISE)
    again = filtered_noise(TORUS.centered_on(4, -8), **NOISE)
    torch.testing.assert_close(noise, again, rtol=0, atol=1e-6)


def test_noises_of_different_bands_are_drawn_side_by_side() -> None:
    columns: dict[str, Any] = {
        "seed": np.arange(40) % 7,
        "low_frequency": np.linspace(0.2, 1, 40),
        "high_frequency": np.linspace(6, 2, 40),
        "period": np.linspace(4, 9, 40),
        "rms_contrast": np.linspace(0.1, 0.2, 40),
        "spectral_slope": np.linspace(0, 2, 40),
        "x": np.linspace(-1, 1, 40),
        "y": np.linspace(0, 1, 40),
    }
    together = filtered_noise(ODD, **columns)
    for i in [0, 15, 16, 39]:  # on both sides of what is drawn at once
        alone = filtered_noise(ODD, **{name: values[i] for name, values in columns.items()})
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=2.0**-23)


@given(seed=st.integers(0, 1000), slope=st.floats(0, 2), high=st.floats(1.5, 6))
@settings(max_examples=20, deadline=None)
def test_no_modulation_is_beyond_the_range_and_few_are_far_within(
    seed: int, slope: float, high: float
) -> None:
    asked = NOISE | {"seed": seed, "spectral_slope": slope, "high_frequency": high}
    low, peak = range_filtered_noise(**asked)
    np.testing.assert_array_equal(low, -peak)
    fine = float(abs(filtered_noise(VisualField(480, 480, 120.0), **asked)).max())
    assert fine <= peak[0]
    # A wave of n cycles falls from its peak no faster than cos(n angle), in x and in y. The range
    # comes from 12 points to a cycle, the image has 20 or more.
    assert fine >= peak[0] * (np.cos(np.pi / 12) * np.cos(np.pi / 20)) ** 2


def test_noise_that_does_not_fit_is_refused_with_what_would() -> None:
    asked = NOISE | {"seed": [3, 4, 5], "rms_contrast": [0.1, 0.4, 0.1]}
    with pytest.raises(
        ValueError,
        match=r"^rms_contrast=0.4 may take the modulation of seed=4 beyond -1 to 1; use at most "
        r"0\.\d+, or another seed$",
    ) as refusal:
        check_filtered_noise(TORUS, **asked)
    fits = float(str(refusal.value).split("at most ")[1].split(",")[0])
    check_filtered_noise(TORUS, **asked | {"rms_contrast": [0.1, fits, 0.1]})
    with pytest.raises(ValueError, match=r"^rms_contrast=.* seed=4 beyond"):
        check_filtered_noise(TORUS, **asked | {"rms_contrast": [0.1, fits + 1e-4, 0.1]})


# All of them.


def families() -> dict[str, Callable[[VisualField], Tensor]]:
    def white(field: VisualField) -> Tensor:
        return white_noise(field, seed=[1, 2], check_size=[0.17, 0.0625], side=[2.55, 2], x=0.1)

    def sparse(field: VisualField) -> Tensor:
        return sparse_noise(field, x=[0.3, -1], y=[0, 0.5], check_size=0.4, polarity=[1, -1])

    def filtered(field: VisualField) -> Tensor:
        return filtered_noise(field, **NOISE | {"seed": [1, 2]}, x=[0.3, -1])

    return {"white": white, "sparse": sparse, "filtered": filtered}


# Sums of waves in float64 depend on their order by some 1e-15, which may decide how float32 rounds.
ROUNDING = {"white": 0.0, "sparse": 0.0, "filtered": 2.0**-24}


@st.composite
def spans(draw: st.DrawFn, length: int) -> slice:
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@pytest.mark.parametrize("name", families())
@given(rows=spans(40), columns=spans(48), x=st.floats(-1, 1), y=st.floats(-1, 1))
@settings(max_examples=60, deadline=None)
def test_a_crop_of_the_field_shows_exactly_the_pixels_of_the_cropped_image(
    name: str, rows: slice, columns: slice, x: float, y: float
) -> None:
    draw, field = families()[name], WIDE.centered_on(x, y)
    cropped, whole = draw(field.crop(rows, columns)), draw(field)[..., rows, columns]
    torch.testing.assert_close(cropped, whole, rtol=0, atol=ROUNDING[name])


@pytest.mark.parametrize("name", families())
def test_moving_the_origin_by_pixels_moves_the_picture_by_as_many(name: str) -> None:
    draw = families()[name]
    moved = draw(WIDE.centered_on(3 * PIXEL, 5 * PIXEL))[..., :-5, 3:]
    torch.testing.assert_close(moved, draw(WIDE)[..., 5:, :-3], rtol=0, atol=ROUNDING[name])


@pytest.mark.parametrize("name", families())
def test_modulations_are_float32_one_to_a_pixel(name: str) -> None:
    drawn = families()[name](WIDE)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (2, 40, 48)
    assert abs(drawn).max() <= 1


@pytest.mark.parametrize("pixels", [1, 2, 2.6, 7])
@pytest.mark.parametrize("origin", [(0, 0), (0.33, -0.7)])
def test_pixels_in_one_check_are_those_that_always_agree(
    pixels: float, origin: tuple[float, float]
) -> None:
    field = VisualField(13, 16, 10.0).centered_on(*origin)
    size = pixels / 10
    checks = max(1, int(1.3 / size))
    stimuli = sweep(white_noise, seed=range(100), check_size=size, side=checks * size)
    flat = stimuli.render(field).reshape(100, -1).numpy()
    # Two checks agree in all of 100 patterns once in 2^100 times.
    agreeing = (flat[:, :, None] == flat[:, None, :]).all(0).sum(1)
    expected = np.where((flat != 0.5).any(0), agreeing, 0).reshape(13, 16)
    np.testing.assert_array_equal(stimuli.check_pixels(field)[17], expected)


def test_pixels_in_one_spot_are_those_that_are_not_grey() -> None:
    stimuli = sweep(sparse_noise, x=[-1.2, 0, 0.3], y=[0.1, 1], check_size=[0.25, 0.4])
    shown = stimuli.render(ODD)[:, 0].numpy() != 0.5
    expected = shown * shown.sum((1, 2), keepdims=True)
    np.testing.assert_array_equal(stimuli.check_pixels(ODD), expected)


def test_of_several_families_each_has_its_own_checks() -> None:
    white = sweep(white_noise, seed=[0, 1], check_size=0.2, side=1)
    sparse = sweep(sparse_noise, x=0, y=[0, 0.5], check_size=0.3)
    together = (white + sparse)[[2, 0, 3, 1]].check_pixels(ODD)
    apart = np.concatenate([white.check_pixels(ODD), sparse.check_pixels(ODD)])
    np.testing.assert_array_equal(together, apart[[2, 0, 3, 1]])


def test_gratings_have_no_checks() -> None:
    with pytest.raises(
        ValueError, match=r"a grating is not made of checks; .* white_noise, sparse"
    ):
        (sweep(white_noise, seed=0, check_size=0.2, side=1) + blank()).check_pixels(ODD)


def test_a_set_draws_them_beside_gratings() -> None:
    noise = sweep(white_noise, seed=[4, 5], check_size=0.2, side=1)
    spots = sweep(sparse_noise, x=[0, 0.5], y=0.1, check_size=0.2, polarity=[-1, 1])
    waves = sweep(grating, spatial_frequency=1)
    images = (noise + waves + spots).render(ODD)
    direct = [
        white_noise(ODD, seed=[4, 5], check_size=0.2, side=1),
        grating(ODD, spatial_frequency=1),
        sparse_noise(ODD, x=[0, 0, 0.5, 0.5], y=0.1, check_size=0.2, polarity=[-1, 1, -1, 1]),
    ]
    # On mid-grey: halves, and a rounding of the gratings.
    expected = 0.5 + 0.5 * torch.cat(direct)[:, None]
    torch.testing.assert_close(images, expected, rtol=0, atol=2.0**-24)


WHITE: dict[str, Any] = {"seed": 1, "check_size": 0.2, "side": 1}
SPARSE: dict[str, Any] = {"x": 0, "y": 0, "check_size": 0.2}
ASKED = {check_white_noise: WHITE, check_sparse_noise: SPARSE, check_filtered_noise: NOISE}
REFUSED: list[tuple[Callable[..., None], dict[str, Any], str]] = [
    (check_white_noise, {"seed": [0, 1.5]}, r"^seed=1.5 is not a whole number from 0 to 2\^53$"),
    (check_white_noise, {"seed": -1}, "^seed=-1.0 is not a whole number"),
    (check_white_noise, {"seed": 2.0**54}, "is not a whole number from 0"),
    (check_white_noise, {"seed": np.nan}, "^seed=nan is not"),
    (
        check_white_noise,
        {"check_size": [0.2, 0.05]},
        r"^check_size=0.05 is not a size from a pixel upward, of 0.1 degrees here; use a larger",
    ),
    (check_white_noise, {"check_size": np.nan}, "^check_size=nan is not"),
    (check_white_noise, {"check_size": np.inf}, "^check_size=inf is not"),
    (
        check_white_noise,
        {"side": 1.1},
        "^side=1.1 is not a whole number of checks of 0.2 degrees; use 1.2, say$",
    ),
    (check_white_noise, {"side": 0.05}, "^side=0.05 is not a whole number .* use 0.2, say$"),
    (
        check_white_noise,
        {"side": 1000},
        "^side=1000.0 has 5000 checks of 0.2 degrees; use at most 4096$",
    ),
    (check_sparse_noise, {"check_size": 0.09}, "^check_size=0.09 is not a size"),
    (check_sparse_noise, {"polarity": [1, 0]}, "^polarity=0.0 is neither 1, light, nor -1, dark$"),
    (check_filtered_noise, {"seed": 0.5}, "^seed=0.5 is not a whole number"),
    (
        check_filtered_noise,
        {"low_frequency": [1, 3], "high_frequency": 2},
        "^low_frequency=3.0 is above high_frequency=2.0; the band goes",
    ),
    (
        check_filtered_noise,
        {"high_frequency": [4, 5]},
        "^high_frequency=5.0 is not below the Nyquist limit of 5 cycles/degree; use a lower one",
    ),
    (
        check_filtered_noise,
        {"period": 3.2},
        "^period=3.2 is smaller than the screen, .* use at least 3.3 degrees$",
    ),
    (
        check_filtered_noise,
        {"period": 200},
        "^period=200.0 holds 800 cycles of high_frequency=4.0; use a period of at most 128 degrees",
    ),
    (
        check_filtered_noise,
        {"low_frequency": 0.2, "high_frequency": 0.3},
        "^low_frequency=0.2 to high_frequency=0.3 holds 2 waves of period=4.0; use a wider band or "
        "a longer period, for at least 8$",
    ),
]


@pytest.mark.parametrize(("check", "changes", "message"), REFUSED)
def test_what_cannot_be_shown_is_refused_in_a_line(
    check: Callable[..., None], changes: dict[str, Any], message: str
) -> None:
    check(ODD, **ASKED[check])
    with pytest.raises(ValueError, match=message):
        check(ODD, **ASKED[check] | changes)


def test_the_screen_counts_and_not_what_is_drawn_of_it() -> None:
    with pytest.raises(ValueError, match=r"^period=3.2 is smaller than the screen"):
        check_filtered_noise(ODD.crop(slice(5), slice(5)), **NOISE | {"period": 3.2})


def test_a_check_of_one_pixel_is_large_enough_however_the_pixel_is_rounded() -> None:
    for pixels_per_degree in (3.7, 15.0, 28.0, 100 / 3):
        field = VisualField(9, 9, pixels_per_degree)
        check_white_noise(field, seed=0, check_size=1 / pixels_per_degree, side=field.width)
