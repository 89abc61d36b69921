"""Training in the channels_last layout."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmengine.utils import apply_to
from mmpretrain.registry import HOOKS

from mmentropy.distributed import unwrapped


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Train with images and convolutions in the channels_last layout.

    It works for any algorithm. Weights, those of an EMA copy, the optimiser's state and the views
    have their channels innermost while training runs. Checkpoints are written as without the hook,
    so it can be added or left out when a run is resumed. Values change by rounding only. DDP, which
    was built before, warns once that strides do not match, and copies.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        model.to(memory_format=torch.channels_last)
        # torch's fused optimisers on a CPU pair the numbers of weight and state as they lie in
        # memory.
        wrapper = runner.optim_wrapper
        several = isinstance(wrapper, OptimWrapperDict)
        for one in wrapper.optim_wrappers.values() if several else [wrapper]:
            for state in one.optimizer.state.values():
                state.update(_laid_out(state, torch.channels_last))
        self._handle = model.data_preprocessor.register_forward_hook(
            lambda module, args, out: _laid_out(out, torch.channels_last)
        )

    def after_train(self, runner: Runner) -> None:
        self._handle.remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for key in checkpoint.keys() & {'state_dict', 'optimizer'}:
            checkpoint[key] = _laid_out(checkpoint[key], torch.contiguous_format)


def _laid_out(value: Any, layout: torch.memory_format) -> Any:
    """Return ``value`` with each tensor of four dimensions in it in this layout."""
    return apply_to(
        value,
        lambda x: isinstance(x, torch.Tensor) and x.dim() == 4,
        lambda x: x.contiguous(memory_format=layout),
    )
