"""PSNR and SSIM against closed forms and scikit-image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from ephys.models.image_quality import psnr, ssim

# Local variances are differences of numbers of up to 1, each rounded some 30 times by 2^-53, over
# a denominator of at least 0.03^2.
SSIM_ROUNDING = 4 * 30 * 2**-53 / 0.03**2

sides = st.integers(11, 30)
seeds = st.integers(0, 2**31)


def image(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A smooth ramp with texture on it, within 0 to 1."""
    y, x = np.mgrid[:height, :width]
    ramp = (y / height + x / width) / 4
    return np.asarray(ramp + 0.5 * rng.random((height, width)))


def batch(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)[:, None])


@settings(deadline=None)
@given(error=st.floats(1e-3, 1), sign=st.sampled_from([-1, 1]), seed=seeds)
def test_psnr_of_a_constant_error_is_minus_20_log10_of_it(
    error: float, sign: int, seed: int
) -> None:
    target = np.random.default_rng(seed).random((2, 1, 5, 6))
    result = psnr(torch.from_numpy(target + sign * error), torch.from_numpy(target))
    assert result.shape == (2,)
    # The error is read off a sum of up to 2: 2^-52 of at least 1e-3, times 20 / ln 10.
    np.testing.assert_allclose(result, -20 * math.log10(error), rtol=0, atol=10 * 2**-52 / 1e-3)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, fraction=st.sampled_from([0.5, 0.25, 0.125]))
def test_halving_the_wrong_pixels_adds_3_decibels_per_halving(seed: int, fraction: float) -> None:
    target = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    wrong = target.clone().flatten()
    chosen = np.random.default_rng(seed).permutation(64)[: int(64 * fraction)]
    wrong[torch.from_numpy(chosen)] = 1
    result = psnr(wrong.view(1, 1, 8, 8), target).item()
    assert result == pytest.approx(-10 * math.log10(fraction), rel=2**-50)


def test_each_image_of_a_batch_has_its_own_quality() -> None:
    target = torch.zeros(3, 1, 12, 12, dtype=torch.float64)
    shown = target + torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64)[:, None, None, None]
    assert psnr(shown, target).tolist() == pytest.approx([0, 20, 40], abs=1e-12)
    together = ssim(shown, target)
    alone = [ssim(shown[i : i + 1], target[i : i + 1]).item() for i in range(3)]
    assert together.shape == (3,)
    assert together.tolist() == pytest.approx(alone, abs=SSIM_ROUNDING)


def test_an_image_equals_itself_without_end() -> None:
    target = torch.full((1, 1, 4, 4), 0.25)
    assert psnr(target, target).item() == math.inf


@settings(deadline=None, max_examples=25)
@given(height=sides, width=sides, seed=seeds)
def test_ssim_of_unrelated_images_is_that_of_scikit_image(
    height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((height, width)), image(rng, height, width)
    assert ssim(batch(first), batch(second)).item() == pytest.approx(
        reference(first, second), abs=SSIM_ROUNDING
    )


@settings(deadline=None, max_examples=25)
@given(height=sides, width=sides, seed=seeds, sd=st.floats(0.001, 0.5))
def test_ssim_of_a_noisy_image_is_that_of_scikit_image(
    height: int, width: int, seed: int, sd: float
) -> None:
    rng = np.random.default_rng(seed)
    target = image(rng, height, width)
    noisy = np.clip(target + rng.normal(0, sd, target.shape), 0, 1)
    assert ssim(batch(noisy), batch(target)).item() == pytest.approx(
        reference(noisy, target), abs=SSIM_ROUNDING
    )


def reference(first: np.ndarray, second: np.ndarray) -> float:
    return structural_similarity(  # type: ignore[no-untyped-call]
        first,
        second,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
    )


@settings(deadline=None, max_examples=25)
@given(height=sides, width=sides, seed=seeds)
def test_an_image_is_as_similar_to_itself_as_can_be(height: int, width: int, seed: int) -> None:
    same = batch(image(np.random.default_rng(seed), height, width))
    assert ssim(same, same).item() == pytest.approx(1, abs=SSIM_ROUNDING)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_similarity_is_mutual_and_never_beyond_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = batch(image(rng, 14, 14)), batch(rng.random((14, 14)))
    forth, back = ssim(first, second).item(), ssim(second, first).item()
    assert forth == pytest.approx(back, abs=SSIM_ROUNDING)
    assert -1 <= forth < 1


@settings(deadline=None, max_examples=25)
@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_ssim_of_flat_images_is_the_luminance_term(a: float, b: float) -> None:
    flat = np.ones((12, 13))
    expected = (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
    result = ssim(batch(a * flat), batch(b * flat)).item()
    # Here the means' own rounding counts too, over the smaller 0.01^2.
    assert result == pytest.approx(expected, abs=SSIM_ROUNDING + 4 * 30 * 2**-53 / 0.01**2)


def test_turning_dark_to_light_makes_the_structure_negative() -> None:
    texture = 0.4 * (np.indices((16, 16)).sum(0) % 2 * 2.0 - 1)
    first, second = batch(0.5 + texture), batch(0.5 - texture)
    # Means are 1/2 and the covariance is minus the variance of 0.16. Under the window alternating
    # signs sum to 1.4e-4 in each direction: means are off by 8e-9, of which the square counts.
    expected = (-2 * 0.16 + 0.03**2) / (2 * 0.16 + 0.03**2)
    assert ssim(first, second).item() == pytest.approx(expected, abs=SSIM_ROUNDING + 1e-14)
