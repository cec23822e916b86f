"""Programs of ``torch.export``: networks in a file with their code, as one graph of operations."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from ephys.models.input_format import InputFormat
from ephys.models.loading import Request, quiet, reason, with_format

HOW_TO_EXPORT = (
    "torch.export.export(network.eval(), (images,), "
    "dynamic_shapes=({0: torch.export.Dim('batch')},))"
)


def from_program(request: Request) -> nn.Module:
    """``FILE.pt2``: its layers have the names that they had before the export.

    ``torch.export.load`` un-pickles parts of a file, evaluates expressions of it, loads compiled
    libraries and calls functions that it names. So only a file that is trusted is opened at all.
    """
    path = Path(request.name)
    if request.weights:
        raise ValueError(f"{path} brings its own weights; drop --weights")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not request.trust_pickle:
        raise ValueError(
            f"{path} is a program, and opening it can run any code that its maker put there; pass "
            "--trust-pickle if you trust them, or a file of its state_dict() and --arch NAME"
        )
    program = _opened(path, request.device)
    images = _images(program, path)
    if trained := [str(node.target) for node in program.graph.nodes if _is_training(node)]:
        raise ValueError(
            f"{path} was exported in training mode ({trained[0]}), which is part of the program; "
            f"export it with {HOW_TO_EXPORT}"
        )
    with quiet():
        network = torch.export.unflatten(program)
    network.register_forward_pre_hook(_start_over)
    return with_format(network, request.required_format(images))


def _opened(path: Path, device: str) -> ExportedProgram:
    try:
        with quiet():
            program = torch.export.load(path)
            if device == "cpu":
                return program
            from torch.export.passes import move_to_device_pass  # not in every torch from 2.4 on

            return move_to_device_pass(program, device)  # a device may be a part of the program
    except Exception as error:  # torch documents none
        raise ValueError(f"{path} is no program that can be read here: {reason(error)}") from error


def _images(program: ExportedProgram, path: Path) -> InputFormat:
    """The shape of the images that it takes: for sides that may vary, of those it was traced with.

    Raises
    ------
    ValueError : if it takes something else, or only a certain number of images.
    """
    inputs: Any = program.example_inputs or ((), {})
    arguments, by_name = inputs
    names = program.graph_signature.user_inputs
    traced = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    if by_name or [getattr(value, "ndim", None) for value in (*arguments, *traced)] != [4, 4]:
        raise ValueError(f"{path} takes something else than (batch, channel, row, column) images")
    batch = traced[0].shape[0]
    if isinstance(batch, int):
        raise ValueError(
            f"{path} was exported for batches of {batch} and takes no other; export it with "
            f"{HOW_TO_EXPORT}"
        )
    return InputFormat(*arguments[0].shape[1:])


def _is_training(node: Node) -> bool:
    """Whether an operation drops units, or normalizes by its batch though it keeps a mean."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    names = [argument.name for argument in node.target._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    by_batch = given.get("training") is True and given.get("running_mean") is not None
    return by_batch or given.get("train") is True


def _start_over(network: nn.Module, inputs: Any) -> None:
    """Every pass begins with the first call of a layer, also after one that was cut short."""
    layers: Iterable[Any] = network.modules()
    for layer in layers:
        if hasattr(layer, "_num_calls"):
            layer._num_calls = 0
