"""The initialiser 'Pretrained', refusing a checkpoint that does not fit.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7, which list the keys that do not match and let
training go on from random weights, also if no key matches. It can go when mmengine raises an error.
"""

from collections import OrderedDict
from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from torch import nn

from mmentropy.weights.backbone import State, below, tensors_in
from mmentropy.weights.fit import require_fit


class FittingPretrained(PretrainedInit):
    """mmengine's ``PretrainedInit``, with the errors of ``mmentropy.weights.fit``."""

    def __call__(self, module: nn.Module) -> None:
        """Load the weights, if they fit."""
        state = self.weights()
        require_fit(module, state, self.checkpoint)
        part = f'{self.prefix} in model' if self.prefix else 'model'
        print_log(f'load {part} from: {self.checkpoint}', logger='current')
        load_state_dict(module, state, strict=False, logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())

    def weights(self) -> State:
        """Read the checkpoint, and return the weights below the prefix, without it.

        The prefix of a parallel wrapper, ``module.``, is taken off first.
        """
        content: Any = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        found = content.get('state_dict', content)
        state = {key.removeprefix('module.'): v for key, v in tensors_in(found).items()}
        if self.prefix is not None:
            return below(self.prefix if self.prefix.endswith('.') else f'{self.prefix}.', state)
        # Layers whose keys were others in an early version look there for their version.
        versioned: Any = OrderedDict(state)
        versioned._metadata = getattr(found, '_metadata', OrderedDict())
        return versioned


def install_pretrained() -> None:
    """Put it in the place of mmengine's."""
    WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=FittingPretrained, force=True)
