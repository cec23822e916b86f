"""How close an image is to what it should be: PSNR and SSIM."""

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # pixels
SSIM_K1, SSIM_K2 = 0.01, 0.03


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, -10 log10(mean squared error), in dB, per image.

    Images are (batch, channel, height, width) in [0, 1]; the result is (batch,).
    """
    error = (images - targets).square().flatten(1).mean(1)
    return -10 * torch.log10(error)


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity, per image, between -1 and 1.

    With the constants and the 11 x 11 Gaussian window (s.d. 1.5 px) of the paper, averaged over
    the positions at which the window lies within the image. Images are
    (batch, 1, height, width) in [0, 1]; the result is (batch,).

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli (2004), IEEE Transactions on Image Processing 13:600.
    """
    offset = torch.arange(SSIM_WINDOW, device=images.device, dtype=images.dtype) - SSIM_WINDOW // 2
    line = torch.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    line = line / line.sum()

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))

    mean_1, mean_2 = local_mean(images), local_mean(targets)
    variance_1 = local_mean(images**2) - mean_1**2
    variance_2 = local_mean(targets**2) - mean_2**2
    covariance = local_mean(images * targets) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + SSIM_K1**2) / (mean_1**2 + mean_2**2 + SSIM_K1**2)
    structure = (2 * covariance + SSIM_K2**2) / (variance_1 + variance_2 + SSIM_K2**2)
    return (luminance * structure).flatten(1).mean(1)
