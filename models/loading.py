"""What ``models.load`` is asked for, and what all of its ways of loading share."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ephys.models.input_format import FORMAT_HINT, INPUT_FORMATS, InputFormat, named_format
from ephys.models.state_dicts import fill, read_state_dict

SEED = 0  # of the weights of untrained networks


@dataclass(frozen=True)
class Request:
    """The arguments of ``models.load``, which says what they are."""

    name: str
    weights: Path | None = None
    input_format: InputFormat | str | None = None
    device: str = "cpu"
    trust_pickle: bool = False

    def refuse_options(self) -> None:
        """Where the name stands for weights and the input format that goes with them."""
        if self.weights or self.input_format:
            raise ValueError(
                f"{self.name} brings its own weights and input format; drop --weights and "
                "--input-format"
            )

    def read_weights(self) -> dict[str, Tensor]:
        """What the weights file holds, see ``read_state_dict``."""
        assert self.weights is not None
        return read_state_dict(self.weights, trust_pickle=self.trust_pickle)

    def fill(self, network: nn.Module) -> None:
        """Put all of the weights file into a network, see ``fill``."""
        weights = self.read_weights()
        try:
            fill(network, weights)
        except ValueError as error:
            raise ValueError(f"{self.weights}: {error}") from error

    def chosen_format(self, own: InputFormat) -> InputFormat:
        """The input format that was asked for, for images of ``own``'s size; else ``own``."""
        if not isinstance(self.input_format, str):
            return self.input_format or own
        height, width = own.height_px, own.width_px
        return named_format(
            self.input_format, channels=own.channels, height_px=height, width_px=width
        )

    def required_format(self, like: InputFormat) -> InputFormat:
        """The same where nothing else says which values a network takes."""
        if self.input_format is None:
            source = self.weights or self.name
            raise ValueError(f"which input does {source} take? pass --input-format {FORMAT_HINT}")
        return self.chosen_format(like)

    def equip(self, network: nn.Module) -> nn.Module:
        """A stranger's network with the input format asked for, or else the one that it has."""
        own = getattr(network, "input_format", None)
        if self.input_format is None and isinstance(own, InputFormat):
            return network
        return with_format(network, self.required_format(INPUT_FORMATS["unit"]))


def with_format(network: nn.Module, input_format: InputFormat) -> nn.Module:
    """The network, which now says what it takes."""
    anything: Any = network
    anything.input_format = input_format
    return network


def reason(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def seeded() -> Iterator[None]:
    """Weights drawn in the block are the same every time; the caller's random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # torch.manual_seed would seed CUDA too
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and log lines of other packages: an exception says all that matters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
