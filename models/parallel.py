"""Training by several processes, as ``torchrun`` starts them, with the result of one.

Each process takes its share of every batch. Gradients are averaged by torch's
DistributedDataParallel; batch norm, whose statistics are those of the batch, has to ask the others.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ephys.ranks import Ranks


def shared_out(model: nn.Module, us: Ranks) -> nn.Module:
    """The model, to be trained by all of these processes as one would; by itself if there is one.

    Its batch norms are replaced in place, and keep their parameters and their names.
    """
    if us.count == 1:
        return model
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            synced = SyncedBatchNorm2d(module.num_features, module.eps, module.momentum)
            synced.load_state_dict(module.state_dict())
            model.set_submodule(name, synced.to(module.weight.device))
    on_cuda = next(model.parameters()).is_cuda
    group = dist.new_group(backend="nccl") if on_cuda else None
    return DistributedDataParallel(model, broadcast_buffers=False, process_group=group)


def summed(values: Tensor, us: Ranks) -> Tensor:
    """The sum over all processes, of each number."""
    if us.count > 1:
        values = values.cpu()  # the processes talk through the host
        dist.all_reduce(values)
    return values


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, of one size each.

    torch's own ``SyncBatchNorm`` works on CUDA only.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        own = input.to(torch.promote_types(input.dtype, torch.float32))
        count = own.numel() // self.num_features * dist.get_world_size()
        mean = _sum_of_all(own.sum((0, 2, 3))) / count
        centered = own - mean[:, None, None]
        variance = _sum_of_all(centered.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            running: Any = self  # its statistics, which a batch norm may also be without
            running.num_batches_tracked += 1
            running.running_mean.lerp_(mean, self.momentum)
            running.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalized = centered * scale[:, None, None] + self.bias[:, None, None]
        return normalized.to(input.dtype)


def _sum_of_all(values: Tensor) -> Tensor:
    total: Tensor = _Summed.apply(values)  # type: ignore[no-untyped-call]
    return total


class _Summed(torch.autograd.Function):
    """The sum over the processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
