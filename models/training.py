"""Train the super-resolution network on BSDS500, from nothing but the photographs.

Everything random comes from the seed: the initial weights, and for each step its crops. A training
that was stopped and resumed therefore gives, bit for bit, the network of one that was not.
"""

import hashlib
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ephys.data_folders import split_folder
from ephys.models.checkpoint import save_checkpoint
from ephys.models.datasets import photographs, random_crops
from ephys.models.image_quality import psnr, ssim
from ephys.models.superres import (
    FACTOR,
    SuperResolution,
    SuperResolutionSettings,
    coarsen,
    enlarge,
    reduce,
)
from ephys.models.training_state import (
    check_output,
    deterministic,
    read_state,
    versions,
    write_state,
)

VALIDATION_CROPS = 128
VALIDATE_EVERY = 100  # steps; the state of the training is saved as often


@dataclass(frozen=True)
class TrainingSettings:
    """Adam on the mean squared error, its learning rate falling to zero along a cosine.

    Parameters
    ----------
    steps, batch_size, learning_rate : of the optimization.
    crop_px : side of the square crops; a multiple of 4, at least 12.
    seed : of the initial weights and of the crops.
    """

    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 1e-3
    crop_px: int = 48
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in [("steps", 1), ("batch_size", 2), ("crop_px", 12), ("seed", 0)]:
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} is below {least}")
        if self.crop_px % FACTOR:
            raise ValueError(f"crop_px={self.crop_px} is not a multiple of {FACTOR}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate} is not a positive number")


def train_superres(
    data: Path,
    out: Path,
    *,
    network: SuperResolutionSettings | None = None,
    training: TrainingSettings | None = None,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train, evaluate on the test photographs, and write the checkpoint ``out``.

    While it runs, its state lies beside ``out`` under the ending ``.training``; ``resume`` goes on
    from there, and gives bit for bit the same network on the same machine.

    Returns
    -------
    What the checkpoint says of itself: ``training``, ``history`` and ``evaluation`` (mean PSNR
    in dB and SSIM over the test photographs, of the network and of interpolation).

    Raises
    ------
    FileNotFoundError, ValueError : if photographs are missing or too small, or the state to
        resume is not of this training.
    FileExistsError : if ``out``, or the state of a training, exists and is not to be overwritten.
    FloatingPointError : if the loss is no longer a number.
    """
    network = network or SuperResolutionSettings()
    training = training or TrainingSettings()
    state_path = out.with_name(out.name + ".training")
    check_output(out, state_path, resume, overwrite)
    size = training.crop_px
    train = photographs(split_folder(data, "train"), smallest_px=size)
    validation = photographs(split_folder(data, "val"), smallest_px=size)
    test = photographs(split_folder(data, "test"), smallest_px=size)
    rng = np.random.default_rng(0)  # the same crops for every seed
    validation_crops = random_crops(validation, VALIDATION_CROPS, size, rng)
    targets = torch.from_numpy(validation_crops).to(device)

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(training.seed)
        model = SuperResolution(network)
    # A quarter faster on a CPU; the stub of ``to`` does not know it.
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    data_of = {"photographs": len(train), "photographs_sha256": _sha256(train)}
    settings = {"network": asdict(network), "training": asdict(training), "data": data_of}
    history: list[dict[str, float]] = []
    first_step = 0
    if resume:
        state = read_state(state_path, settings)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history, first_step = state["history"], state["step"]

    def save_state(step: int) -> None:
        state = {
            "settings": settings,
            "step": step,
            "history": history,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        write_state(state_path, state)

    out.parent.mkdir(parents=True, exist_ok=True)
    quiet = quiet or not sys.stderr.isatty()
    steps = tqdm(range(first_step, training.steps), "train", disable=quiet, initial=first_step)
    if not resume:
        save_state(0)  # so that there is something to resume from the start
    with deterministic():
        for step in steps:
            rng = np.random.default_rng([training.seed, step])
            crops = random_crops(train, training.batch_size, size, rng)
            for group in optimizer.param_groups:
                cosine = math.cos(math.pi * step / training.steps)
                group["lr"] = training.learning_rate * (1 + cosine) / 2
            loss = _step(model, optimizer, torch.from_numpy(crops).to(device))
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss} at step {step}; lower --learning-rate from "
                    f"{training.learning_rate:g}, and train anew with --overwrite"
                )
            done = step + 1
            if done % VALIDATE_EVERY == 0 or done == training.steps:
                quality = _validate(model, targets)
                history.append({"step": done, "loss": loss, **quality})
                steps.set_postfix({name: f"{value:.4g}" for name, value in history[-1].items()})
                save_state(done)

    evaluation = evaluate(model, test, tile_px=size, quiet=quiet)
    notes = {
        "training": {**asdict(training), **data_of, "device": device, **versions()},
        "history": history,
        "evaluation": evaluation,
    }
    save_checkpoint(out, model, notes)
    state_path.unlink()
    return notes


def evaluate(
    model: SuperResolution, images: list[np.ndarray], *, tile_px: int = 48, quiet: bool = True
) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM over whole photographs, of the network and of interpolation.

    Each photograph loses the rows and columns beyond a multiple of 4, and is made coarse as in
    training. ``bilinear`` is the very image that the network is given; ``bicubic`` enlarges the
    same few pixels the usual way. ``network`` sees the photograph whole; ``network_in_tiles`` sees
    it in squares of ``tile_px``, in which the border is as near as in its training crops.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows = []
    for image in tqdm(images, "evaluate", disable=quiet):
        height, width = (side - side % FACTOR for side in image.shape)
        target = torch.from_numpy(image[:height, :width].copy()).to(device)[None, None] / 255
        with torch.inference_mode():
            small = reduce(target)
            bilinear = enlarge(small, "bilinear")
            shown = {
                "network": model(bilinear),
                "network_in_tiles": _in_tiles(model, target, tile_px),
                "bicubic": enlarge(small, "bicubic").clamp(0, 1),
                "bilinear": bilinear,
            }
            rows.append(
                {
                    f"{measure.__name__}_{name}": measure(output, target).item()
                    for name, output in shown.items()
                    for measure in (psnr, ssim)
                }
            )
    model.train(was_training)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {"photographs": len(images), **means}


def _in_tiles(model: SuperResolution, target: Tensor, size: int) -> Tensor:
    """What the network makes of a photograph (1, 1, height, width) in squares; the last of a row
    or column reaches back over the one before."""
    height, width = target.shape[-2:]
    corners = [
        (max(min(top, height - size), 0), max(min(left, width - size), 0))
        for top in range(0, height, size)
        for left in range(0, width, size)
    ]
    tiles = torch.cat([target[..., y : y + size, x : x + size] for y, x in corners])
    stitched = torch.empty_like(target)
    for (top, left), tile in zip(corners, model(coarsen(tiles)), strict=True):
        stitched[..., top : top + size, left : left + size] = tile
    return stitched


def _step(model: SuperResolution, optimizer: torch.optim.Optimizer, targets: Tensor) -> float:
    model.train()
    loss = F.mse_loss(model(coarsen(targets)), targets)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    model.project()
    return loss.item()


def _validate(model: SuperResolution, targets: Tensor) -> dict[str, float]:
    model.eval()
    with torch.inference_mode():
        output = model(coarsen(targets))
        return {
            "psnr": psnr(output, targets).mean().item(),
            "ssim": ssim(output, targets).mean().item(),
        }


def _sha256(images: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.shape}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()
