"""Training is reproducible bit for bit, can be stopped and resumed, and refuses what is wrong."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ephys.models import training
from ephys.models.checkpoint import load_checkpoint, read_header, read_weights
from ephys.models.image_quality import psnr, ssim
from ephys.models.superres import SuperResolution, SuperResolutionSettings, coarsen
from ephys.models.training import TrainingSettings, evaluate, train_superres

NETWORK = SuperResolutionSettings(excitation_size=3, inhibition_size=3)
SHORT = TrainingSettings(steps=6, batch_size=2, crop_px=12, seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Maps of 3 x 3 are not worth a second thread, which waits by spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "VALIDATION_CROPS", 4)
    monkeypatch.setattr(training, "VALIDATE_EVERY", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits of synthetic photographs: blobs and edges."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(20)
    for split, count in [("train", 4), ("val", 2), ("test", 2)]:
        (folder / split).mkdir()
        for index in range(count):
            y, x = np.mgrid[:49, :52]
            angle, shift, width = rng.random(3)
            distance = x * math.cos(6 * angle) + y * math.sin(6 * angle) - 20 * shift
            pixels = 127 + 100 * np.tanh(distance / (0.5 + 3 * width)) + rng.normal(0, 5, x.shape)
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(folder / split / f"{index}.png")
    return folder


def train(
    data: Path, out: Path, chosen: TrainingSettings = SHORT, **options: Any
) -> dict[str, Any]:
    return train_superres(data, out, network=NETWORK, training=chosen, quiet=True, **options)


def assert_same_network(first: Path, second: Path) -> None:
    weights, others = read_weights(first), read_weights(second)
    assert list(weights) == list(others)
    for name, values in weights.items():
        assert torch.equal(values, others[name]), name


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, instead: Any = KeyboardInterrupt) -> None:
    """Raise, or give another loss, at a step counted from the next call."""
    real = training._step
    calls: list[None] = []

    def stopped(*arguments: Any) -> float:
        calls.append(None)
        loss = real(*arguments)
        if len(calls) == step + 1:
            if isinstance(instead, float):
                return instead
            raise instead
        return loss

    monkeypatch.setattr(training, "_step", stopped)


def test_the_same_seed_gives_bit_for_bit_the_same_network(data: Path, tmp_path: Path) -> None:
    for name in ("first", "again"):
        torch.rand(5)  # whatever the caller drew before
        train(data, tmp_path / name)
    assert_same_network(tmp_path / "first", tmp_path / "again")
    assert read_header(tmp_path / "first") == read_header(tmp_path / "again")


def test_another_seed_gives_another_network(data: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        chosen = TrainingSettings(steps=1, batch_size=2, crop_px=12, seed=seed)
        train(data, tmp_path / str(seed), chosen)
    first, second = read_weights(tmp_path / "1"), read_weights(tmp_path / "2")
    assert not torch.equal(first["decoder.0.weight"], second["decoder.0.weight"])


def test_every_step_of_every_seed_has_its_own_crops(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: dict[int, list[bytes]] = {}
    real = training._step

    def noted(model: SuperResolution, optimizer: torch.optim.Optimizer, targets: Tensor) -> float:
        crops[seed].extend(crop.cpu().numpy().tobytes() for crop in targets)
        return real(model, optimizer, targets)

    monkeypatch.setattr(training, "_step", noted)
    for seed in (3, 4):
        crops[seed] = []
        chosen = TrainingSettings(steps=4, batch_size=3, crop_px=12, seed=seed)
        train(data, tmp_path / str(seed), chosen)
    # 24 of some 4 * 38 * 41 * 8 crops: the chance that two are the same is below 1 %.
    assert [len(each) for each in crops.values()] == [12, 12]
    assert len({*crops[3], *crops[4]}) == 24


def test_the_random_state_and_settings_of_the_caller_are_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    train(data, tmp_path / "whole")
    stop_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped")
    assert torch.equal(torch.get_rng_state(), state)
    for before, after in zip(numpy_state, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(before, after)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_resumed_training_gives_bit_for_bit_the_uninterrupted_network(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    train(data, whole)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(data, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.training", "whole"]
    notes = train(data, out, resume=True)
    assert_same_network(whole, out)
    assert read_header(out) == read_header(whole)
    assert [row["step"] for row in notes["history"]] == [2, 4, 6]
    assert not (tmp_path / "stopped.training").exists()


def test_only_the_steps_after_the_saved_state_are_repeated(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "out")
    stop_at(monkeypatch, 2)  # a third step from the state saved after 4 would raise
    train(data, tmp_path / "out", resume=True)


def test_a_training_stopped_in_its_evaluation_can_be_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    train(data, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "out")
    train(data, tmp_path / "out", resume=True)
    assert_same_network(tmp_path / "whole", tmp_path / "out")


def test_an_existing_output_is_refused_and_kept(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"precious")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r"out exists; pass --overwrite"):
            train(data, out, resume=resume)
    assert out.read_bytes() == b"precious"
    train(data, out, overwrite=True)
    assert load_checkpoint(out)


def test_a_left_over_state_is_refused_and_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(data, out)
    state = (tmp_path / "out.training").read_bytes()
    with pytest.raises(FileExistsError, match=r"out\.training .*--resume or --overwrite"):
        train(data, out)
    assert (tmp_path / "out.training").read_bytes() == state
    train(data, out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 4}, "seed=3, not 4"),
        ({"steps": 8}, "steps=6, not 8"),
        ({"learning_rate": 0.01}, "learning_rate=0.001, not 0.01"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    message: str,
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "out")
    settings = {"steps": 6, "batch_size": 2, "crop_px": 12, "seed": 3} | changed
    with pytest.raises(ValueError, match=rf"out\.training was begun with {message}"):
        train(data, tmp_path / "out", TrainingSettings(**settings), resume=True)
    with pytest.raises(ValueError, match=r"begun with normalization=divnormei, not none"):
        train_superres(
            data,
            tmp_path / "out",
            network=SuperResolutionSettings(
                normalization="none", excitation_size=3, inhibition_size=3
            ),
            training=SHORT,
            resume=True,
        )
    train(data, tmp_path / "out", resume=True)  # the refusals have kept the state


def test_resuming_nothing_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing to resume: .*out\.training"):
        train(data, tmp_path / "out", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_state_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.training").write_bytes(b"half a sta")
    with pytest.raises(ValueError, match=r"out\.training"):
        train(data, tmp_path / "out", resume=True)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused_and_the_state_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 2, loss)
        with pytest.raises(FloatingPointError, match=rf"{loss} at step 2; lower --learning-rate"):
            train(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    state = torch.load(tmp_path / "out.training", weights_only=True)
    assert state["step"] == 2
    assert all(values.isfinite().all() for values in state["model"].values())
    train(data, tmp_path / "whole")
    train(data, tmp_path / "out", resume=True)
    assert_same_network(tmp_path / "whole", tmp_path / "out")


def test_a_training_that_is_stopped_before_its_first_step_can_be_resumed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(data, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at(patched, 0)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "out")
    train(data, tmp_path / "out", resume=True)
    assert_same_network(tmp_path / "whole", tmp_path / "out")


def test_the_loss_falls(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    real = training._step

    def noted(*arguments: Any) -> float:
        losses.append(real(*arguments))
        return losses[-1]

    monkeypatch.setattr(training, "_step", noted)
    monkeypatch.setattr(training, "VALIDATE_EVERY", 20)
    chosen = TrainingSettings(steps=80, batch_size=4, crop_px=12, learning_rate=3e-3)
    notes = train(data, tmp_path / "out", chosen)
    # An untrained decoder says grey everywhere; a quarter of its error is soon learned.
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:5])
    assert [row["step"] for row in notes["history"]] == [20, 40, 60, 80]
    assert [row["loss"] for row in notes["history"]] == [losses[i] for i in (19, 39, 59, 79)]


@pytest.mark.parametrize("projected", ["all", "lateral"])
def test_the_projected_parameters_are_non_negative_after_training(
    data: Path, tmp_path: Path, projected: str
) -> None:
    network = SuperResolutionSettings(
        excitation_size=3,
        inhibition_size=3,
        projected=projected,  # type: ignore[arg-type]
    )
    train_superres(data, tmp_path / "out", network=network, training=SHORT)
    model = load_checkpoint(tmp_path / "out")
    names = {
        "all": {name for name, _ in model.named_parameters() if name.startswith("encoder.")},
        "lateral": {
            f"encoder.normalization.{name}"
            for name in ("divisive", "excitation.weight", "inhibition.weight")
        },
    }[projected]
    for name, parameter in model.named_parameters():
        # The others are drawn with either sign, and six small steps do not change that.
        signed = name not in names and parameter.numel() > 64 * 9
        assert (parameter >= 0).all() or name not in names
        assert (parameter < 0).any() or not signed


def test_the_learning_rate_falls_to_zero_along_a_cosine(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real = training._step

    def noted(model: SuperResolution, optimizer: torch.optim.Optimizer, targets: Tensor) -> float:
        rates.extend(group["lr"] for group in optimizer.param_groups)
        return real(model, optimizer, targets)

    monkeypatch.setattr(training, "_step", noted)
    train(data, tmp_path / "out")
    expected = [1e-3 * math.cos(math.pi * step / 12) ** 2 for step in range(6)]  # half-angle
    assert rates == pytest.approx(expected, rel=1e-12)


def test_a_checkpoint_says_how_it_was_trained(data: Path, tmp_path: Path) -> None:
    notes = train(data, tmp_path / "below" / "out")
    header = read_header(tmp_path / "below" / "out")
    assert {name: header[name] for name in notes} == notes
    assert header["settings"] == SuperResolution(NETWORK).describe()
    said = header["training"]
    assert {name: said[name] for name in ("steps", "batch_size", "crop_px", "seed")} == {
        "steps": 6,
        "batch_size": 2,
        "crop_px": 12,
        "seed": 3,
    }
    assert said["learning_rate"] == 1e-3
    assert said["torch"] == torch.__version__
    assert said["device"] == "cpu"


def in_tiles(model: SuperResolution, target: Tensor) -> Tensor:
    """The network's output where 48-px squares, of which the last reach back, hold each pixel."""
    height, width = target.shape[-2:]
    output = torch.full_like(target, math.nan)
    for top in [*range(0, height - 48, 48), height - 48]:
        for left in [*range(0, width - 48, 48), width - 48]:
            tile = target[..., top : top + 48, left : left + 48]
            output[..., top : top + 48, left : left + 48] = model(coarsen(tile))
    return output


@pytest.mark.parametrize(("height", "width"), [(50, 53), (48, 99)])
def test_an_evaluation_compares_the_network_with_what_it_was_given(height: int, width: int) -> None:
    images = list(np.random.default_rng(7).integers(0, 256, (2, height, width), dtype=np.uint8))
    model = SuperResolution(NETWORK).eval()
    rows: dict[str, list[float]] = {}
    for image in images:
        pixels = image[: height // 4 * 4, : width // 4 * 4]
        target = torch.from_numpy(pixels / np.float32(255))[None, None]
        with torch.inference_mode():
            given_image = coarsen(target)
            shown = {
                "bilinear": given_image,
                "network": model(given_image),
                "network_in_tiles": in_tiles(model, target),
            }
        for name, output in shown.items():
            rows.setdefault(f"psnr_{name}", []).append(psnr(output, target).item())
            rows.setdefault(f"ssim_{name}", []).append(ssim(output, target).item())
    evaluation = evaluate(model, images)
    assert set(evaluation) == {*rows, "psnr_bicubic", "ssim_bicubic", "photographs"}
    assert evaluation["photographs"] == 2
    for name, values in rows.items():
        # Another batch may add the network's float32 sums in another order; 1e-6 of an output of
        # which the error is of order 0.1 is 20 / ln 10 * 1e-5 < 1e-4 dB.
        assert evaluation[name] == pytest.approx(np.mean(values), abs=1e-4)


@pytest.mark.parametrize(("height", "width"), [(48, 48), (24, 28), (12, 44)])
def test_a_photograph_no_larger_than_a_tile_is_one_tile(height: int, width: int) -> None:
    images = [np.random.default_rng(7).integers(0, 256, (height, width), dtype=np.uint8)]
    evaluation = evaluate(SuperResolution(NETWORK), images)
    assert evaluation["psnr_network_in_tiles"] == evaluation["psnr_network"]
    assert evaluation["ssim_network_in_tiles"] == evaluation["ssim_network"]


def test_an_evaluation_leaves_the_mode_of_the_model() -> None:
    images = [np.random.default_rng(1).integers(0, 256, (13, 15), dtype=np.uint8)]
    for mode in (True, False):
        model = SuperResolution(NETWORK).train(mode)
        before = {name: values.clone() for name, values in model.state_dict().items()}
        evaluate(model, images)
        assert all(module.training == mode for module in model.modules())
        for name, values in model.state_dict().items():
            assert torch.equal(values, before[name])


def test_photographs_smaller_than_the_crop_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0\.png has 52 x 49 pixels, smaller than .* 56"):
        train(data, tmp_path / "out", TrainingSettings(steps=1, batch_size=2, crop_px=56))
    with pytest.raises(FileNotFoundError, match="'train'"):
        train(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps=0 is below 1"),
        ({"batch_size": 1}, "batch_size=1 is below 2"),
        ({"crop_px": 8}, "crop_px=8 is below 12"),
        ({"crop_px": 50}, "crop_px=50 is not a multiple of 4"),
        ({"seed": -1}, "seed=-1 is below 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is not a positive number"),
        ({"learning_rate": math.inf}, "learning_rate=inf is not a positive number"),
        ({"learning_rate": math.nan}, "learning_rate=nan is not a positive number"),
    ],
)
def test_settings_of_no_training_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**changed)
