"""Noise: every check is where it was asked for, and every seed one pattern for ever."""

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
from ephys.stimuli.noises import check_white_noise, sparse_noise, white_noise
from ephys.visual_field import VisualField

WIDE = VisualField(40, 48, 16.0)  # 2.5 x 3 degrees: neither square, nor of an odd size
ODD = VisualField(31, 33, 10.0)
PIXEL = 1 / 16

# float32 rounds the mean, its product with the contrast, and their sum: each at most 1, by 2^-24.
PIXEL_ERROR = 2.5 * 2.0**-24


def only(images: Tensor) -> np.ndarray:
    assert images.shape[:2] == (1, 1)
    return images[0, 0].numpy()


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
def test_white_noise_is_the_bits_of_its_seed_on_a_square_around_the_origin(seed: int) -> None:
    image = only(white_noise(WIDE, seed=seed, check_size=2 * PIXEL, diameter=2, contrast=0.5))
    expected = np.full((40, 48), 0.5)
    expected[4:36, 8:40] += 0.25 * np.kron(pattern(seed, 16), np.ones((2, 2)))
    np.testing.assert_array_equal(image, expected)  # all powers of 2


def test_a_seed_is_the_same_pattern_at_every_scale() -> None:
    small = only(white_noise(WIDE, seed=7, check_size=PIXEL, diameter=10 * PIXEL))
    large = only(white_noise(WIDE, seed=7, check_size=4 * PIXEL, diameter=40 * PIXEL))
    magnified = np.kron(small[15:25, 19:29], np.ones((4, 4)))
    np.testing.assert_array_equal(large[:, 4:44], magnified)


def test_parameters_differ_from_stimulus_to_stimulus() -> None:
    seeds, sizes, diameters = [3, 3, 4], np.array([1, 2, 3]) * PIXEL, np.array([5, 8, 9]) * PIXEL
    contrasts, means = [1.0, 0.3, 0.6], [0.5, 0.4, 0.2]
    together = white_noise(
        WIDE,
        seed=seeds,
        check_size=sizes,
        diameter=diameters,
        contrast=contrasts,
        mean_luminance=means,
    )
    for i in range(3):
        alone = white_noise(
            WIDE,
            seed=seeds[i],
            check_size=sizes[i],
            diameter=diameters[i],
            contrast=contrasts[i],
            mean_luminance=means[i],
        )
        assert torch.equal(together[i], alone[0])


@given(contrast=st.floats(0, 1), mean_luminance=st.floats(0, 0.5))
@settings(max_examples=40, deadline=None)
def test_light_and_dark_checks_have_the_michelson_contrast_around_the_mean(
    contrast: float, mean_luminance: float
) -> None:
    image = only(
        white_noise(
            ODD,
            seed=5,
            check_size=0.1,
            diameter=2,
            contrast=contrast,
            mean_luminance=mean_luminance,
        )
    )
    assert image[0, 0] == np.float32(mean_luminance)
    amplitude = mean_luminance * contrast
    for value in np.unique(image):
        levels = mean_luminance + np.array([-amplitude, 0, amplitude])
        assert abs(levels - value).min() <= PIXEL_ERROR
    assert image.max() - image.min() == pytest.approx(2 * amplitude, abs=2 * PIXEL_ERROR)


def test_checks_are_fair_coins_independent_of_each_other_and_of_other_seeds() -> None:
    seeds, checks = 500, 20
    images = white_noise(
        VisualField(checks, checks, 1.0), seed=np.arange(seeds), check_size=1, diameter=checks
    )
    coins = 2 * images[:, 0].double().numpy() - 1  # (seed, row, column)
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
    expected = [
        [0.5 if r is None or c is None else 0.5 + 0.5 * shown[r, c] for c in columns] for r in rows
    ]
    image = only(white_noise(field, seed=9, check_size=size, diameter=count * size))
    np.testing.assert_array_equal(image, expected)


def test_an_edge_through_a_pixels_centre_leaves_it_to_the_check_on_the_right_and_above() -> None:
    # Of an odd field the middle pixel is at the origin, where two by two checks meet.
    image = only(white_noise(ODD, seed=2, check_size=0.2, diameter=0.4))
    expected = np.full((31, 33), 0.5)
    # 2 pixels per check: left and below of the origin -0.2 and -0.1, right and above 0 and 0.1.
    expected[14:18, 14:18] += 0.5 * np.kron(pattern(2, 2), np.ones((2, 2)))
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
    stimuli = sweep(white_noise, seed=1, check_size=pixel, diameter=count * pixel)
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
    images = sparse_noise(
        WIDE, x=0.25, y=-0.625, check_size=0.25, polarity=[1, -1], contrast=0.5, mean_luminance=0.25
    )
    expected = np.full((2, 40, 48), 0.25)
    expected[0, 28:32, 26:30] = 0.375
    expected[1, 28:32, 26:30] = 0.125
    np.testing.assert_array_equal(images[:, 0], expected)


@pytest.mark.parametrize("pixels", [1, 1.5, 2, 3.25])
@pytest.mark.parametrize("field", [WIDE, ODD], ids=["even", "odd"])
def test_spots_at_all_places_of_a_grid_cover_every_pixel_once(
    field: VisualField, pixels: float
) -> None:
    size = pixels / field.pixels_per_degree
    places = (np.arange(-25, 26)) * size
    stimuli = sweep(sparse_noise, x=places, y=places, check_size=size)
    lit = (stimuli.render(field) > 0.5).sum((0, 1))
    assert (lit == 1).all()


def test_a_dark_spot_may_be_on_any_field() -> None:
    image = only(sparse_noise(ODD, x=0, y=0, check_size=0.1, polarity=-1, mean_luminance=1))
    assert image[15, 16] == 0
    assert (image == 1).sum() == image.size - 1


# Both.


def families() -> dict[str, Callable[[VisualField], Tensor]]:
    def white(field: VisualField) -> Tensor:
        return white_noise(field, seed=[1, 2], check_size=[0.17, 0.0625], diameter=[2.55, 2])

    def sparse(field: VisualField) -> Tensor:
        return sparse_noise(field, x=[0.3, -1], y=[0, 0.5], check_size=0.4, polarity=[1, -1])

    return {"white": white, "sparse": sparse}


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
    assert torch.equal(draw(field.crop(rows, columns)), draw(field)[..., rows, columns])


@pytest.mark.parametrize("name", families())
def test_moving_the_origin_by_pixels_moves_the_picture_by_as_many(name: str) -> None:
    draw = families()[name]
    moved = draw(WIDE.centered_on(3 * PIXEL, 5 * PIXEL))
    assert torch.equal(moved[..., :-5, 3:], draw(WIDE)[..., 5:, :-3])


@pytest.mark.parametrize("name", families())
def test_images_are_float32_between_0_and_1(name: str) -> None:
    images = families()[name](WIDE)
    assert images.dtype == torch.float32
    assert images.shape == (2, 1, 40, 48)
    assert images.min() == 0
    assert images.max() == 1


@pytest.mark.parametrize("pixels", [1, 2, 2.6, 7])
@pytest.mark.parametrize("origin", [(0, 0), (0.33, -0.7)])
def test_pixels_in_one_check_are_those_that_always_agree(
    pixels: float, origin: tuple[float, float]
) -> None:
    field = VisualField(13, 16, 10.0).centered_on(*origin)
    size = pixels / 10
    checks = max(1, int(1.3 / size))
    stimuli = sweep(white_noise, seed=range(100), check_size=size, diameter=checks * size)
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
    white = sweep(white_noise, seed=[0, 1], check_size=0.2, diameter=1)
    sparse = sweep(sparse_noise, x=0, y=[0, 0.5], check_size=0.3)
    together = (white + sparse)[[2, 0, 3, 1]].check_pixels(ODD)
    apart = np.concatenate([white.check_pixels(ODD), sparse.check_pixels(ODD)])
    np.testing.assert_array_equal(together, apart[[2, 0, 3, 1]])


def test_gratings_have_no_checks() -> None:
    with pytest.raises(
        ValueError, match=r"a grating is not made of checks; .* white_noise, sparse"
    ):
        (sweep(white_noise, seed=0, check_size=0.2, diameter=1) + blank()).check_pixels(ODD)


def test_a_set_draws_them_beside_gratings() -> None:
    noise = sweep(white_noise, seed=[4, 5], check_size=0.2, diameter=1)
    spots = sweep(sparse_noise, x=[0, 0.5], y=0.1, check_size=0.2, polarity=[-1, 1])
    waves = sweep(grating, spatial_frequency=1)
    images = (noise + waves + spots).render(ODD)
    direct = [
        white_noise(ODD, seed=[4, 5], check_size=0.2, diameter=1),
        grating(ODD, spatial_frequency=1),
        sparse_noise(ODD, x=[0, 0, 0.5, 0.5], y=0.1, check_size=0.2, polarity=[-1, 1, -1, 1]),
    ]
    assert torch.equal(images, torch.cat(direct))


WHITE: dict[str, Any] = {"seed": 1, "check_size": 0.2, "diameter": 1}
SPARSE: dict[str, Any] = {"x": 0, "y": 0, "check_size": 0.2}
REFUSED: list[tuple[Callable[..., Tensor], dict[str, Any], str]] = [
    (white_noise, {"seed": [0, 1.5]}, r"^seed=1.5 is not a whole number from 0 to 2\^53$"),
    (white_noise, {"seed": -1}, "^seed=-1.0 is not a whole number"),
    (white_noise, {"seed": 2.0**54}, "is not a whole number from 0"),
    (white_noise, {"seed": np.nan}, "^seed=nan is not"),
    (
        white_noise,
        {"check_size": [0.2, 0.05]},
        r"^check_size=0.05 is not a size from a pixel upward, of 0.1 degrees here; use larger",
    ),
    (white_noise, {"check_size": np.nan}, "^check_size=nan is not"),
    (white_noise, {"check_size": np.inf}, "^check_size=inf is not"),
    (
        white_noise,
        {"diameter": 1.1},
        "^diameter=1.1 is not a whole number of checks of 0.2 degrees; use 1.2, say$",
    ),
    (white_noise, {"diameter": 0}, "^diameter=0.0 is not a whole number .* use 0.2, say$"),
    (white_noise, {"diameter": np.inf}, "^diameter=inf is not a whole number"),
    (
        white_noise,
        {"diameter": 1000},
        "^diameter=1000.0 has 5000 checks of 0.2 degrees on a side; use at most 4096$",
    ),
    (white_noise, {"contrast": 1.5}, "^contrast=1.5 is outside 0 to 1$"),
    (white_noise, {"contrast": np.nan}, "^contrast=nan is outside 0 to 1$"),
    (
        white_noise,
        {"contrast": 0.25, "mean_luminance": 0.9},
        "^mean_luminance=0.9 is outside 0 to 0.8, where luminances at contrast=0.25 stay",
    ),
    (white_noise, {"mean_luminance": np.nan}, "^mean_luminance=nan is outside"),
    (sparse_noise, {"x": np.nan}, "^x=nan is not a number$"),
    (sparse_noise, {"y": [0, np.inf]}, "^y=inf is not a number$"),
    (sparse_noise, {"check_size": 0.09}, "^check_size=0.09 is not a size"),
    (sparse_noise, {"polarity": [1, 0]}, "^polarity=0.0 is neither 1, light, nor -1, dark$"),
    (sparse_noise, {"contrast": -0.1}, "^contrast=-0.1 is outside"),
    (sparse_noise, {"polarity": [-1, 1], "mean_luminance": 0.6}, "^mean_luminance=0.6 is outside"),
]


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED)
def test_what_cannot_be_shown_is_refused_in_a_line(
    family: Callable[..., Tensor], changes: dict[str, Any], message: str
) -> None:
    asked = (WHITE if family is white_noise else SPARSE) | changes
    with pytest.raises(ValueError, match=message):
        family(ODD, **asked)


def test_a_check_of_one_pixel_is_large_enough_however_the_pixel_is_rounded() -> None:
    for pixels_per_degree in (3.7, 15.0, 28.0, 100 / 3):
        field = VisualField(9, 9, pixels_per_degree)
        check_white_noise(
            field, seed=0, check_size=1 / pixels_per_degree, diameter=9 * field.width / 9
        )
