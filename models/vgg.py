"""The networks of Simonyan & Zisserman (2015), with torchvision's layer names.

Layers to record from: in VGG-16, ``features.0`` is conv1_1 and ``features.1`` its ReLU,
``features.2`` and ``features.3`` conv1_2, and so on.
"""

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 512)  # channels of each stage
CONVOLUTIONS = {  # before each pooling, by depth: configurations A, B, D and E
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """(batch, 3, 224, 224) to (batch, 1000) class scores.

    Its first weights are drawn as torchvision draws them: He et al. (2015) for convolutions.

    Parameters
    ----------
    depth : number of layers with weights, 11, 13, 16 or 19.
    batch_norm : normalize after every convolution.
    """

    def __init__(self, depth: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = 3
        for width, convolutions in zip(WIDTHS, CONVOLUTIONS[depth], strict=True):
            for _ in range(convolutions):
                self.features.append(nn.Conv2d(channels, width, 3, padding=1))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU(inplace=True))
                channels = width
            self.features.append(nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            *(nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()),
            nn.Linear(4096, 1000),
        )
        self.apply(_draw)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def _draw(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0, 0.01)
    if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
