"""Batch norm over all ranks, on any device."""

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmentropy.distributed import all_sum


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose training statistics span the ranks.

    Arguments, parameters and buffers are those of ``SyncBatchNorm``, which
    takes CUDA tensors only, as does DDP around it. Ranks may hold different
    numbers of rows. On one rank it is plain batch norm.
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
        local = torch.tensor(float(x.numel() // x.size(1)))
        count = int(all_sum(local))
        wide = x.float() if x.element_size() < 4 else x
        mean = all_sum(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        var = all_sum(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._update_running_stats(mean.detach(), var.detach(), count)
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _update_running_stats(self, mean: Tensor, var: Tensor, count: int) -> None:
        running_mean, running_var = self.running_mean, self.running_var
        assert running_mean is not None and running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = self.momentum
        if weight is None:
            weight = 1 / float(self.num_batches_tracked)
        unbiased = var * count / (count - 1)
        running_mean.lerp_(mean.to(running_mean), weight)
        running_var.lerp_(unbiased.to(running_var), weight)


# 'GlobalBN' is torch's own where it works. In mmengine's root registry, so
# that every OpenMMLab scope finds it.
MODELS.register_module(
    'GlobalBN', module=nn.SyncBatchNorm if torch.cuda.is_available() else CPUSyncBatchNorm
)
