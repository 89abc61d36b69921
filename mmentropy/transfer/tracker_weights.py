"""Weights of mmdet's trackers, whose parts name theirs in ``init_cfg``."""

from mmengine.model import BaseModule, initialize

from mmentropy.checks.config_parts import kind_of
from mmentropy.transfer.frozen_reid import FrozenReID


def load_tracker_weights(model: BaseModule) -> None:
    """Load the detector and the appearance network of a tracker from their checkpoints.

    mmengine does so before training alone, and a tracker of the SORT family is never trained.

    Args:
        model: A tracker of mmdet that was built. ``FrozenReID`` has its weights already, and
            ``PublicDetections`` needs none.

    Raises:
        ValueError: A part has weights, but names no checkpoint, or one that does not fit.
        OSError: There is no such file.
    """
    for name in ('detector', 'reid'):
        part = getattr(model, name, None)
        if part is None or isinstance(part, FrozenReID) or not list(part.parameters()):
            continue
        own = part.init_cfg if isinstance(part.init_cfg, list) else [part.init_cfg or {}]
        named = [entry for entry in own if 'Pretrained' in kind_of(entry)]
        if not any(entry.get('checkpoint') for entry in named):
            raise ValueError(
                f'model.{name}, {type(part).__name__}, has no weights: add --cfg-options '
                f'model.{name}.init_cfg.type=Pretrained model.{name}.init_cfg.checkpoint=PATH, or '
                'name a checkpoint of the whole tracker'
            )
        initialize(part, named)
