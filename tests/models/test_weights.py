"""The shipped networks say of themselves what the photographs say of them."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from ephys.data_folders import split_folder
from ephys.models.checkpoint import read_header
from ephys.models.datasets import photographs
from ephys.models.image_quality import psnr
from ephys.models.sources import SHIPPED
from ephys.models.superres import enlarge, reduce


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
    for name in SHIPPED:
        evaluation = header(name)["evaluation"]
        assert evaluation["photographs"] == len(scores["bicubic"]) == 200
        for mode, of_mode in scores.items():
            # One mean of the same float32 numbers; sums of squares may be taken in another order.
            assert evaluation[f"psnr_{mode}"] == pytest.approx(np.mean(of_mode), abs=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_names_the_command_and_the_seed_of_its_network(name: str) -> None:
    card = (files("ephys.models") / "weights" / f"{name}.md").read_text()
    training, evaluation = header(name)["training"], header(name)["evaluation"]
    command = f"--steps {training['steps']} --seed {training['seed']} --device cpu"
    assert command in card
    whole = f"{evaluation['psnr_network']:.2f} | {evaluation['ssim_network']:.3f}"
    assert f"| {training['seed']} | {whole} |" in card
