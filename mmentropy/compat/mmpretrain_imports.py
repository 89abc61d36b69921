"""mmpretrain, imported without mmdet and without mmcv's operators.

Host: onedl-mmpretrain 1.3.6 and onedl-mmcv 2.3.6. One module of mmpretrain's models imports half of
mmdet where that is installed, and one of mmcv.cnn all of mmcv.ops, which takes seconds and serves
detectors only. Here both are told that there is no such package, and what they would have offered
comes on demand: ``MultiScaleDeformableAttention`` of mmcv.cnn on access, and ``ResLayerExtraNorm``
of mmpretrain when its module is imported by name, as mmpretrain's own config does. Operators that a
config of mmpretrain names (``DCN``) need ``custom_imports=dict(imports=['mmcv.ops'])``. This can go
when both hosts import these packages on demand.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

HIDDEN = ('mmcv.ops', 'mmdet')


class _NotInstalled(MetaPathFinder):
    """It finds nothing, and says of some packages that they are not installed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name in HIDDEN:
            raise ModuleNotFoundError(f'{name} is hidden while mmpretrain is imported', name=name)


def import_mmpretrain() -> None:
    """Import mmpretrain's models without these packages, unless they are imported already."""
    if 'mmpretrain.models' not in sys.modules:
        finder = _NotInstalled()
        sys.meta_path.insert(0, finder)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention')
                import_module('mmpretrain.models')
        finally:
            sys.meta_path.remove(finder)
        sys.modules.pop('mmpretrain.models.utils.res_layer_extra_norm', None)
    transformer = sys.modules['mmcv.cnn.bricks.transformer']
    if not hasattr(transformer, 'MultiScaleDeformableAttention'):
        vars(transformer)['__getattr__'] = _attention


def _attention(name: str) -> Any:
    """Return what mmcv.cnn.bricks.transformer would have imported from mmcv.ops."""
    if name != 'MultiScaleDeformableAttention':
        raise AttributeError(f"module 'mmcv.cnn.bricks.transformer' has no attribute {name!r}")
    return import_module('mmcv.ops').MultiScaleDeformableAttention
