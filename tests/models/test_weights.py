"""The shipped networks say of themselves what the photographs say of them."""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from ephys import models
from ephys.data_folders import split_folder
from ephys.models.checkpoint import read_header
from ephys.models.classification import evaluate
from ephys.models.datasets import photographs
from ephys.models.image_quality import psnr
from ephys.models.labeled_images import LabeledImages, read_labeled_images
from ephys.models.sources import SHIPPED
from ephys.models.superres import enlarge, reduce

SHARPENING = [name for name in SHIPPED if name.startswith("superres")]
CLASSIFYING = [name for name in SHIPPED if name.startswith("twolayer")]


def header(name: str) -> dict:
    return read_header(Path(str(files("ephys.models") / "weights" / f"{name}.safetensors")))


def test_interpolation_scores_on_the_test_photographs_what_the_headers_say(
    shared_data: Callable[[str], Path],
) -> None:
    scores: dict[str, list[float]] = {"bicubic": [], "bilinear": []}
    for image in photographs(split_folder(shared_data("bsds500"), "test")):
        height, width = (side - side % 4 for side in image.shape)
        target = torch.from_numpy(image[:height, :width].copy())[None, None] / 255
        for mode in ("bicubic", "bilinear"):
            enlarged = enlarge(reduce(target), mode).clamp(0, 1)
            scores[mode].append(psnr(enlarged, target).item())
    for name in SHARPENING:
        evaluation = header(name)["evaluation"]
        assert evaluation["photographs"] == len(scores["bicubic"]) == 200
        for mode, of_mode in scores.items():
            # One mean of the same float32 numbers; sums of squares may be taken in another order.
            assert evaluation[f"psnr_{mode}"] == pytest.approx(np.mean(of_mode), abs=1e-4)


@pytest.mark.parametrize("name", SHARPENING)
def test_a_card_names_the_command_and_the_seed_of_its_network(name: str) -> None:
    card = (files("ephys.models") / "weights" / f"{name}.md").read_text()
    training, evaluation = header(name)["training"], header(name)["evaluation"]
    command = f"--steps {training['steps']} --seed {training['seed']} --device cpu"
    assert command in card
    whole = f"{evaluation['psnr_network']:.2f} | {evaluation['ssim_network']:.3f}"
    assert f"| {training['seed']} | {whole} |" in card


@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_card_names_the_command_and_the_accuracy_of_its_classifier(name: str) -> None:
    card = (files("ephys.models") / "weights" / f"{name}.md").read_text()
    training, evaluation = header(name)["training"], header(name)["evaluation"]
    assert f"--epochs {training['epochs']} --seed {training['seed']} --keep-epochs" in card
    assert f"it is seed {training['seed']}, the one with the median accuracy" in card
    each = re.search(r"each: ([\d.%, ]+%)", card)
    assert each is not None
    accuracies = sorted(each[1].split(", "))
    assert accuracies[len(accuracies) // 2] == f"{evaluation['test_accuracy']:.1%}"


@pytest.mark.parametrize("name", CLASSIFYING)
def test_a_classifier_is_as_good_as_it_says(
    name: str, shared_data: Callable[[str], Path], once: dict[str, LabeledImages]
) -> None:
    if not once:
        _, once["test"] = read_labeled_images(shared_data("cifar10_jpeg"))
    found = evaluate(models.load(name), once["test"])
    said = header(name)["evaluation"]
    # One image near the border of two classes may fall to either side by rounding.
    assert found["test_accuracy"] == pytest.approx(said["test_accuracy"], abs=2.5e-4)
    assert found["test_loss"] == pytest.approx(said["test_loss"], rel=1e-4)


@pytest.fixture(scope="module")
def once() -> dict[str, LabeledImages]:
    """The test images, read by the first test that wants them."""
    return {}
