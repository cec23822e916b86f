"""AlexNet, as torchvision has it (one stream), and as Caffe has it (two groups).

The network of Krizhevsky, Sutskever & Hinton (2012) ran on two GPUs, so that most of its
convolutions see half of the filters before them. Caffe's replica keeps that as groups. torchvision
has the later network of Krizhevsky (2014, arXiv:1404.5997), without groups or normalization.
"""

from torch import Tensor, nn


class AlexNet(nn.Module):
    """(batch, 3, 224, 224) to (batch, 1000) class scores, with torchvision's layer names."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, stride=2),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, stride=2),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
            nn.Linear(4096, 1000),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


class CaffeNet(nn.Module):
    """(batch, 3, 227, 227) to (batch, 1000) class scores, with Caffe's layer names.

    The BVLC reference network of Jia et al. (2014, arXiv:1408.5093): it pools before it normalizes,
    and its pools round up, as Caffe's do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(inplace=True)
        self.pool1, self.norm1 = _pool(), _normalization()
        self.conv2, self.relu2 = nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True)
        self.pool2, self.norm2 = _pool(), _normalization()
        self.conv3, self.relu3 = nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True)
        self.conv4, self.relu4 = nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True)
        self.conv5, self.relu5 = nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True)
        self.pool5 = _pool()
        self.fc6, self.relu6 = nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)
        self.drop6 = nn.Dropout()
        self.fc7, self.relu7 = nn.Linear(4096, 4096), nn.ReLU(inplace=True)
        self.drop7 = nn.Dropout()
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, images: Tensor) -> Tensor:
        answer = images
        for name, layer in self.named_children():
            answer = layer(answer.flatten(1) if name == "fc6" else answer)
        return answer


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _normalization() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)
