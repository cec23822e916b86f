"""VGG-16 (configuration D) of Simonyan & Zisserman (2015), with torchvision's layer names.

Layers to record from: ``features.0`` is conv1_1 and ``features.1`` its ReLU, ``features.2`` and
``features.3`` conv1_2, and so on.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ephys.models.input_format import InputFormat

PUBLISHED = "https://download.pytorch.org/models/vgg16-397923af.pth"  # torchvision IMAGENET1K_V1
WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool") + 2 * (512, 512, 512, "pool")

# What published weights take. None of them says so in its file, and a wrong guess is silent.
_PIXELS = InputFormat(channels=3, height_px=224, width_px=224)
INPUT_FORMATS = {
    "torchvision": replace(_PIXELS, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "caffe": replace(_PIXELS, scale=255.0, mean=(123.68, 116.779, 103.939)),
    "unit": _PIXELS,
}


class VGG16(nn.Module):
    """(batch, 3, 224, 224), in the given format, to (batch, 1000) class scores."""

    def __init__(self, input_format: InputFormat) -> None:
        super().__init__()
        self.input_format = input_format
        self.default_layers = ("features.1", "features.3")  # conv1_1 and conv1_2, rectified
        self.features = nn.Sequential()
        channels = 3
        for width in WIDTHS:
            if isinstance(width, int):
                self.features.append(nn.Conv2d(channels, width, 3, padding=1))
                self.features.append(nn.ReLU(inplace=True))
                channels = width
            else:
                self.features.append(nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            nn.Linear(4096, 1000),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def vgg16(weights: dict[str, Tensor], input_format: InputFormat, device: str = "cpu") -> VGG16:
    """VGG-16 with the weights of a state_dict, which may hold only the first layers.

    A layer that has no weights takes no memory, and refuses, by name, when it is reached.

    Raises
    ------
    ValueError : for weights that are not VGG-16's.
    """
    with torch.device("meta"):
        model = VGG16(input_format)
    expected = model.state_dict()
    for name, tensor in weights.items():
        if name not in expected:
            raise ValueError(f"VGG-16 has no weights {name!r}; its first are features.0.weight")
        if tensor.shape != expected[name].shape:
            shapes = tuple(tensor.shape), tuple(expected[name].shape)
            raise ValueError(f"{name} has shape {shapes[0]}, and in VGG-16 {shapes[1]}")
    if not weights:
        raise ValueError("the file holds no weights")
    weights = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}
    model.load_state_dict(weights, strict=False, assign=True)
    for name, module in model.named_modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            module.register_forward_pre_hook(_refusal(name))
    return model.eval()


def _refusal(name: str) -> Callable[[nn.Module, Any], None]:
    def refuse(module: nn.Module, inputs: Any) -> None:
        raise ValueError(f"layer {name!r} came without weights; record from layers before it")

    return refuse
