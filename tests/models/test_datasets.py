"""Photographs from folders, and crops of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ephys.models.datasets import photographs, random_crops

# 256 different values, so that every crop tells where it was taken and how it was turned.
UNIQUE = np.arange(256, dtype=np.uint8).reshape(16, 16)


def symmetries(patch: np.ndarray) -> list[np.ndarray]:
    """The eight of the square: four turns, each with and without a mirror."""
    turned = [np.rot90(patch, quarter) for quarter in range(4)]
    return turned + [np.fliplr(patch) for patch in turned]


def write(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def test_photographs_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, value in [("b.png", 20), ("a.png", 10), ("c.PNG", 30), ("100.png", 1), ("20.png", 2)]:
        write(tmp_path / name, np.full((3, 4), value, np.uint8))
    (tmp_path / "Thumbs.db").write_bytes(b"not a photograph")
    (tmp_path / "notes.txt").write_text("neither")
    found = photographs(tmp_path)
    assert [int(pixels[0, 0]) for pixels in found] == [1, 2, 10, 20, 30]
    assert all(pixels.dtype == np.uint8 and pixels.shape == (3, 4) for pixels in found)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(color=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_color_becomes_its_luma(tmp_path: Path, color: tuple[int, int, int]) -> None:
    path = tmp_path / "color.png"
    Image.new("RGB", (2, 1), color).save(path)
    (pixels,) = photographs(tmp_path)
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]  # ITU-R BT.601, as PIL's mode L
    # PIL rounds to whole numbers, with coefficients in 65536ths: off by at most 3 * 255 / 131072.
    assert abs(float(pixels[0, 0]) - luma) <= 0.5 + 3 * 255 / 2**17


def test_jpegs_are_read_as_pil_reads_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    for name in ("one.jpg", "two.JPEG"):
        Image.fromarray(pixels).save(tmp_path / name)
    for found in photographs(tmp_path):
        with Image.open(tmp_path / "one.jpg") as image:
            np.testing.assert_array_equal(found, np.asarray(image.convert("L")))


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing to see")
    with pytest.raises(
        ValueError, match=r"holds no photograph \(\.jpeg, \.jpg, \.png\)"
    ) as refusal:
        photographs(tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_a_photograph_below_the_crop_is_refused_by_name_with_both_sizes(tmp_path: Path) -> None:
    write(tmp_path / "large.png", np.zeros((20, 20), np.uint8))
    write(tmp_path / "small.png", np.zeros((11, 30), np.uint8))
    assert len(photographs(tmp_path, smallest_px=11)) == 2
    with pytest.raises(ValueError, match=r"small\.png has 30 x 11 pixels.* 12;"):
        photographs(tmp_path, smallest_px=12)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_broken_photograph_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    good = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(good)
    whole = good.read_bytes()
    broken = tmp_path / f"b{suffix}"
    for content in (b"", b"these are no pixels", whole[:20], whole[: len(whole) // 2]):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=rf"b\{suffix} cannot be read as a photograph"):
            photographs(tmp_path)


def encoded(suffix: str) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(buffer, {".jpg": "JPEG", ".png": "PNG"}[suffix])
    return buffer.getvalue()


WHOLE = {suffix: encoded(suffix) for suffix in (".jpg", ".png")}


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    suffix=st.sampled_from(sorted(WHOLE)),
    place=st.floats(0, 1, exclude_max=True),
    damage=st.binary(min_size=1, max_size=16),
)
def test_a_damaged_photograph_is_read_or_refused_by_name(
    tmp_path: Path, suffix: str, place: float, damage: bytes
) -> None:
    content = bytearray(WHOLE[suffix])
    start = int(place * (len(content) - len(damage)))
    content[start : start + len(damage)] = damage
    folder = tmp_path / suffix[1:]
    folder.mkdir(exist_ok=True)
    (folder / f"hurt{suffix}").write_bytes(content)
    try:
        (pixels,) = photographs(folder)
    except ValueError as refusal:
        assert f"hurt{suffix} cannot be read" in str(refusal)  # noqa: PT017
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 2


def test_a_png_with_a_lost_chunk_is_refused_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "hurt.png"
    write(path, rng.integers(0, 256, (300, 300), dtype=np.uint8))  # more than one chunk of 64 kB
    content = path.read_bytes()
    second = content.index(b"IDAT", content.index(b"IDAT") + 4)
    path.write_bytes(content[:second] + b"\0\0\0\0" + content[second + 4 :])
    with pytest.raises(ValueError, match=r"hurt\.png cannot be read as a photograph"):
        photographs(tmp_path)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(0, 5),
    size=st.integers(1, 16),
    sizes=st.lists(st.tuples(st.integers(16, 20), st.integers(16, 24)), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
)
def test_crops_have_the_asked_shape_and_whole_grey_levels(
    count: int, size: int, sizes: list[tuple[int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in sizes]
    crops = random_crops(images, count, size, rng)
    assert crops.shape == (count, 1, size, size)
    assert crops.dtype == np.float32
    assert ((crops >= 0) & (crops <= 1)).all()
    levels = np.arange(256).astype(np.float32) / np.float32(255)
    assert np.isin(crops, levels).all()


@settings(deadline=None, max_examples=40)
@given(size=st.integers(2, 16), seed=st.integers(0, 2**31))
def test_each_crop_is_one_of_the_eight_symmetries_of_a_window(size: int, seed: int) -> None:
    for crop in random_crops([UNIQUE], 10, size, np.random.default_rng(seed)):
        values = np.rint(crop[0] * 255).astype(np.uint8)
        top, left = divmod(int(values.min()), 16)  # the smallest value is the window's first
        window = UNIQUE[top : top + size, left : left + size]
        assert window.shape == (size, size)
        assert any(np.array_equal(values, turned) for turned in symmetries(window))


def test_every_window_and_every_symmetry_is_drawn() -> None:
    image = UNIQUE[:5, :6]
    crops = random_crops([image], 3000, 4, np.random.default_rng(8))
    drawn = {np.rint(crop * 255).astype(np.uint8).tobytes() for crop in crops}
    expected = {
        turned.tobytes()
        for top in range(2)
        for left in range(3)
        for turned in symmetries(image[top : top + 4, left : left + 4])
    }
    # 48 equally likely: each is missed with a probability of (47 / 48)^3000 < 1e-27.
    assert len(expected) == 48
    assert drawn == expected


def test_every_photograph_is_drawn_from() -> None:
    images = [np.full((4, 4), value, np.uint8) for value in (0, 51, 102)]
    crops = random_crops(images, 600, 4, np.random.default_rng(9))
    values, counts = np.unique(np.rint(crops[:, 0, 0, 0] * 255), return_counts=True)
    assert values.tolist() == [0, 51, 102]
    # Binomial of 600 and 1/3: mean 200, s.d. 11.5; 6 s.d. is missed once in 5e8 draws.
    assert abs(counts - 200).max() < 6 * 11.6


def test_the_same_generator_draws_the_same_crops() -> None:
    first, again, other = (
        random_crops([UNIQUE], 20, 8, np.random.default_rng(seed)) for seed in (6, 6, 7)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
