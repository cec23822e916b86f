"""Train the two-layer CNN to tell classes of images apart.

Everything random comes from the seed: the initial weights, and for each epoch the order of the
images and which of them are mirrored. A training that was stopped and resumed therefore gives, bit
for bit, the network of one that was not.
"""

import hashlib
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ephys.models.checkpoint import save_checkpoint, write_atomically
from ephys.models.input_format import InputFormat, own_format
from ephys.models.labeled_images import LabeledImages, read_labeled_images
from ephys.models.parallel import shared_out, summed
from ephys.models.training_state import (
    check_output,
    deterministic,
    read_state,
    versions,
    write_state,
)
from ephys.models.twolayer import TwoLayerCNN, TwoLayerSettings
from ephys.ranks import Ranks, ranks

CURVES, PICTURE, EPOCHS = ".csv", ".png", ".epochs"  # endings of what lies beside a checkpoint
WARM_UP = 0.2  # of the steps, over which the learning rate rises
EVALUATED_AT_ONCE = 500  # images


@dataclass(frozen=True)
class ClassifierTraining:
    """SGD with Nesterov momentum on the cross-entropy, along one cycle of the learning rate.

    The rate rises linearly over the first fifth of the steps and falls to zero along a cosine.

    Parameters
    ----------
    epochs, batch_size : of the optimization; images beyond whole batches wait for the next epoch.
    learning_rate : the highest.
    momentum : of SGD.
    weight_decay : of convolutions and readout, not of biases and normalizations.
    mirrored : whether half of the images of each epoch are mirrored left to right.
    mixed_precision : bfloat16 where torch holds it to be safe; on CUDA only.
    seed : of the initial weights and of the order of the images.
    """

    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    mirrored: bool = True
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in [("epochs", 1), ("batch_size", 2), ("seed", 0)]:
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} is below {least}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate} is not a positive number")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum={self.momentum} is not from 0 to below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay} is not a number from 0 on")


def train_classifier(
    data: Path,
    out: Path,
    *,
    network: TwoLayerSettings | None = None,
    training: ClassifierTraining | None = None,
    device: str = "cpu",
    size_px: int | None = None,
    keep_epochs: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train, evaluate on the test images, and write the checkpoint ``out``.

    While it runs, its state lies beside ``out`` under the ending ``.training``, as of the last
    whole epoch; ``resume`` goes on from there, and gives bit for bit the same network on the same
    machine. The learning curves are ``out`` with the ending ``.csv``. The last epoch's network is
    kept, not the best on the test images, which choose nothing.

    Under ``torchrun`` every process takes its share of each batch, and together they do what one
    would, but for rounding.

    Parameters
    ----------
    data : see :func:`read_labeled_images`.
    network : classes, size, mean and s.d. are those of the images, whatever it says.
    size_px : side to cut and resize the images to; by default they are of one size already.
    keep_epochs : write the network of every epoch, 0 for the untrained one, into the folder
        ``out`` with the ending ``.epochs``.

    Returns
    -------
    What the checkpoint says of itself: ``training``, ``history`` and ``evaluation``.

    Raises
    ------
    FileNotFoundError, ValueError : if the images are missing or damaged, or the state to resume is
        not of this training.
    FileExistsError : if ``out``, what is written beside it, or the state of a training, exists and
        is not to be overwritten.
    FloatingPointError : if the loss is no longer a number.
    """
    training, us = training or ClassifierTraining(), ranks()
    if training.mixed_precision and not device.startswith("cuda"):
        raise ValueError(f"mixed precision needs a CUDA device, not {device}")
    if training.batch_size % us.count:
        raise ValueError(
            f"batch_size={training.batch_size} is not to be shared by {us.count} processes; take a "
            "multiple"
        )
    state_path = out.with_name(out.name + ".training")
    check_output(out, state_path, resume, overwrite)
    _check_beside(out, resume, overwrite)
    us.wait()  # before the first writes what the others have yet to look for
    train, test = read_labeled_images(data, size_px=size_px)
    network = _fitted(network or TwoLayerSettings(), train)
    if len(train.labels) < training.batch_size:
        raise ValueError(
            f"batch_size={training.batch_size} is above the {len(train.labels)} training images; "
            f"pass --batch-size {len(train.labels)} or less"
        )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(training.seed)
        model = TwoLayerCNN(network)
    # Faster on a CPU; the stub of ``to`` does not know it.
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = shared_out(model, us)
    optimizer = torch.optim.SGD(
        _decayed(model, training.weight_decay),
        lr=training.learning_rate,
        momentum=training.momentum,
        nesterov=training.momentum > 0,
    )
    data_of = {
        "source": train.source,
        "images": len(train.labels),
        "images_sha256": _sha256(train),
        "classes": list(train.classes),
    }
    settings = {"network": model.describe(), "training": asdict(training), "data": data_of}
    history: list[dict[str, float]] = []
    first_epoch = 0
    if resume:
        state = read_state(state_path, settings)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history, first_epoch = state["history"], state["epoch"]

    out.parent.mkdir(parents=True, exist_ok=True)
    quiet = quiet or us.rank > 0 or not sys.stderr.isatty()

    def save_epoch(epoch: int) -> None:
        if us.rank > 0:
            return
        if keep_epochs:
            out.with_suffix(EPOCHS).mkdir(exist_ok=True)
            kept = out.with_suffix(EPOCHS) / f"{epoch:03d}.safetensors"
            save_checkpoint(kept, model, {"epoch": epoch})
        state = {"settings": settings, "epoch": epoch, "history": history}
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        if history:
            curves = pd.DataFrame(history).to_csv(index=False, float_format="%.6g")
            write_atomically(out.with_suffix(CURVES), curves.encode())
        write_state(state_path, state | parts)

    if not resume:
        if us.rank == 0:
            for old in out.with_suffix(EPOCHS).glob("[0-9]*.safetensors"):
                old.unlink()
        save_epoch(0)  # so that there is something to resume from the start
    images = _Encoded(train, model.input_format, device)
    with deterministic(), tqdm(total=training.epochs, disable=quiet, initial=first_epoch) as bar:
        for epoch in range(first_epoch, training.epochs):
            learned = _epoch(learner, optimizer, images, training, epoch, us)
            tested = evaluate(model, test, device=device)
            history.append({"epoch": epoch + 1, **learned, **tested})
            save_epoch(epoch + 1)
            bar.set_postfix({name: f"{value:.4g}" for name, value in history[-1].items()})
            bar.update()

    notes = {
        "training": {**asdict(training), **data_of, "device": device, **versions()},
        "history": history,
        "evaluation": {
            "images": len(test.labels),
            "test_loss": history[-1]["test_loss"],
            "test_accuracy": history[-1]["test_accuracy"],
        },
    }
    if us.rank == 0:
        save_checkpoint(out, model, notes)
        state_path.unlink()
    return notes


def evaluate(model: nn.Module, test: LabeledImages, *, device: str = "cpu") -> dict[str, float]:
    """Mean cross-entropy and share of images classified correctly, in evaluation mode."""
    was_training = model.training
    model.eval()
    images = _Encoded(test, own_format(model), device)
    losses, correct = [], 0
    with torch.inference_mode():
        for start in range(0, images.count, EVALUATED_AT_ONCE):
            shown, labels = images.batch(slice(start, start + EVALUATED_AT_ONCE))
            scores = model(shown)
            losses.append(F.cross_entropy(scores, labels, reduction="sum").item())
            correct += int((scores.argmax(1) == labels).sum())
    model.train(was_training)
    return {"test_loss": sum(losses) / images.count, "test_accuracy": correct / images.count}


def _fitted(network: TwoLayerSettings, images: LabeledImages) -> TwoLayerSettings:
    """The settings for these images: how many classes, how large, their mean and s.d."""
    size = images.images.shape[-1]
    values = torch.from_numpy(images.images).to(torch.float64) / 255
    mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3), correction=0)
    return replace(
        network,
        classes=len(images.classes),
        size_px=size,
        mean=tuple(round(value, 4) for value in mean.tolist()),
        std=tuple(round(value, 4) for value in std.tolist()),
    )


def _check_beside(out: Path, resume: bool, overwrite: bool) -> None:
    """Refuse to lose what lies where the learning curves and the networks of each epoch go."""
    for ending in (CURVES, PICTURE, EPOCHS):
        beside = out.with_suffix(ending)
        if beside == out:
            raise ValueError(f"{out} ends as what is written beside it; end it in .safetensors")
        if beside.exists() and not (resume or overwrite):
            raise FileExistsError(f"{beside} exists; pass --overwrite, or another -o")


def _epoch(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: "_Encoded",
    training: ClassifierTraining,
    epoch: int,
    us: Ranks,
) -> dict[str, float]:
    """Go through the images once; mean loss and accuracy on the way."""
    rng = np.random.default_rng([training.seed, epoch])
    order = torch.from_numpy(rng.permutation(images.count)).to(images.device)
    mirrored = torch.from_numpy(rng.random(images.count) < 0.5).to(images.device)
    mirrored &= training.mirrored
    steps = images.count // training.batch_size
    total_loss = correct = 0.0
    learner.train()
    for step in range(steps):
        batch = order[step * training.batch_size : (step + 1) * training.batch_size]
        batch = batch[us.rank :: us.count]
        shown, labels = images.batch(batch, mirrored)
        rate = learning_rate(training, (epoch * steps + step) / (training.epochs * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(shown.device.type, torch.bfloat16, training.mixed_precision):
            scores = learner(shown)
            loss = F.cross_entropy(scores, labels)
        right = (scores.argmax(1) == labels).sum()
        both = summed(torch.stack([loss.detach().double(), right.double()]), us).tolist()
        step_loss = both[0] / us.count
        if not math.isfinite(step_loss):
            raise FloatingPointError(
                f"the loss is {step_loss} in epoch {epoch + 1}, step {step + 1}; lower "
                f"--learning-rate from {training.learning_rate:g}, and train anew with --overwrite"
            )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total_loss += step_loss
        correct += both[1]
    return {
        "learning_rate": rate,
        "train_loss": total_loss / steps,
        "train_accuracy": correct / (steps * training.batch_size),
    }


def learning_rate(training: ClassifierTraining, done: float) -> float:
    """The rate when a share ``done`` of the steps is done."""
    if done < WARM_UP:
        return training.learning_rate * done / WARM_UP
    return training.learning_rate * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def _decayed(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with decay (weights of two dimensions or more) and without (the others)."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


class _Encoded:
    """Images on a device, a batch at a time as what a network takes."""

    def __init__(self, images: LabeledImages, input_format: InputFormat, device: str) -> None:
        self.count, self.device, self.input_format = len(images.labels), device, input_format
        self.bytes = torch.from_numpy(images.images).to(device)
        self.labels = torch.from_numpy(images.labels).to(device)

    def batch(self, which: Tensor | slice, mirrored: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (batch, 3, y, x) and labels (batch,); some of all images may be mirrored."""
        shown = self.bytes[which]
        if mirrored is not None:
            shown = torch.where(mirrored[which][:, None, None, None], shown.flip(-1), shown)
        encoded = self.input_format.encode(shown.to(torch.float32) / 255)
        return encoded.contiguous(memory_format=torch.channels_last), self.labels[which]


def _sha256(images: LabeledImages) -> str:
    digest = hashlib.sha256(f"{images.images.shape}".encode())
    digest.update(images.images.tobytes())
    digest.update(images.labels.tobytes())
    return digest.hexdigest()
