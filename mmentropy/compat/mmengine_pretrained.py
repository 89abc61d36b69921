"""The initialiser 'Pretrained', refusing a checkpoint that does not fit.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7, which list the keys that do not match and let
training go on from random weights, also if no key matches. It can go when mmengine raises an error.
"""

from typing import Any

from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmentropy.weights.backbone import below, tensors_in
from mmentropy.weights.fit import require_fit


class FittingPretrained(PretrainedInit):
    """mmengine's ``PretrainedInit``, with the errors of ``mmentropy.weights.fit``."""

    def __call__(self, module: nn.Module) -> None:
        """Load the weights, if they fit."""
        content: Any = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        state = tensors_in(content.get('state_dict', content))
        state = {key.removeprefix('module.'): value for key, value in state.items()}
        if self.prefix is not None:
            state = below(self.prefix if self.prefix.endswith('.') else f'{self.prefix}.', state)
        require_fit(module, state, self.checkpoint)
        super().__call__(module)


def install_pretrained() -> None:
    """Put it in the place of mmengine's."""
    WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=FittingPretrained, force=True)
