"""Batch norm over all ranks, on any device."""

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmentropy.distributed import all_sum


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose training statistics span the ranks.

    Arguments, parameters and buffers are those of ``BatchNorm1d``. torch's ``SyncBatchNorm`` takes
    CUDA tensors only, and so does a DDP that wraps one. Ranks may hold different numbers of rows.
    On one rank it is plain batch norm.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f'expected at least 2 dimensions, got {x.dim()}')

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, ...) per channel, over the rows of all ranks."""
        if not self.training or get_world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        shape = [1, -1] + [1] * (x.dim() - 2)
        dims = [d for d in range(x.dim()) if d != 1]
        count = int(all_sum(torch.tensor(float(x.numel() // x.size(1)))))
        wide = x.float() if x.element_size() < 4 else x
        mean = all_sum(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        var = all_sum(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._update_running_stats(mean.detach(), var.detach() * count / (count - 1))
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _update_running_stats(self, mean: Tensor, var: Tensor) -> None:
        tracked = self.get_buffer('num_batches_tracked').add_(1)
        weight = 1 / float(tracked) if self.momentum is None else self.momentum
        for name, value in dict(running_mean=mean, running_var=var).items():
            running = self.get_buffer(name)
            running.lerp_(value.to(running), weight)


# 'GlobalBN' is torch's own where that works. It is in mmengine's root registry, so that every
# OpenMMLab scope finds it.
MODELS.register_module(
    'GlobalBN', module=nn.SyncBatchNorm if torch.cuda.is_available() else CPUSyncBatchNorm
)
