"""The averaged copy of a network that serves as its target."""

from math import cos, pi

import torch
from mmpretrain.models.utils import CosineEMA
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.distributed import local
from mmentropy.models.optimizer_steps import total_optimizer_steps


@MODELS.register_module()
class ForeachEMA(CosineEMA):
    """mmpretrain's ``CosineEMA``, all tensors in one call.

    Arguments, buffers and state dict are those of ``CosineEMA``; checkpoints of either load into
    the other. The move after the iteration k = 0, 1, ... takes the cosine at k, as the codes of
    MEC, BYOL and DINO do; ``CosineEMA`` takes it at k + 1. This class neither launches a kernel per
    parameter nor waits for the device: the number of steps is also kept on the host, and read from
    the device only after something else wrote there, such as the loading of a checkpoint.

    Source:
        onedl-mmengine 0.10.11:mmengine/model/averaged_model.py;
        mmpretrain@ee7f2e8:mmpretrain/models/utils/ema.py;
        xinliu20/MEC@35045dc:main_pretrain.py#L270, #L352-L355.
    """

    _count = 0
    # How often torch had written to ``steps`` when ``_count`` was its value.
    _version: int | None = None

    # Its counts are other numbers in every iteration, which a compiled step would depend on.
    @torch.compiler.disable
    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards ``model``; the first call copies it.

        Without ``update_buffers`` its buffers are copied at every call.

        Args:
            model: A network of the same structure as the one that was copied.
        """
        if self._version != self.steps._version:
            self._count = int(self.steps)
        source = model.state_dict() if self.update_buffers else dict(model.named_parameters())
        average = self.avg_parameters
        if self._count == 0:
            keys = list(average)
            copy_all([local(average[key]) for key in keys], [local(source[key]) for key in keys])
        elif self._count % self.interval == 0:
            keys = [key for key in average if average[key].is_floating_point()]
            torch._foreach_lerp_(
                [local(average[key]) for key in keys],
                [local(source[key]).to(average[key].device) for key in keys],
                self.current_momentum(self._count - 1),
            )
        if not self.update_buffers:
            copy_all(list(self.module.buffers()), list(model.buffers()))
        self._count += 1
        self.steps += 1
        self._version = self.steps._version

    def current_momentum(self, step: int) -> float:
        """The weight of the online network, a cosine over all steps of the optimiser.

        Beyond the last step the cosine stays at its end. Checkpoints of runs that counted every
        iteration of an accumulated step may get there.
        """
        total = total_optimizer_steps()
        left = (cos(pi * min(step, total) / total) + 1) / 2
        return self.end_momentum + (self.momentum - self.end_momentum) * left


def copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy each source into its target; both lists may be empty."""
    if targets:
        torch._foreach_copy_(targets, sources)
