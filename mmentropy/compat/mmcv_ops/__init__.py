"""mmcv's compiled operators on torchvision's, for an mmcv that has none.

:mod:`mmentropy.compat.mmcv_extension` makes them importable as ``mmcv._ext``. They are called by
mmcv/ops/*.py as the compiled ones are: tensors by position, outputs allocated by the caller and
filled in place, gradients added to what is there. They follow mmcv's kernels (onedl-mmcv 2.3.6,
mmcv/ops/csrc), except that half precision, bfloat16 included, is computed in float32, and run
wherever torchvision's operators do.
"""

from mmentropy.compat.mmcv_ops import (  # noqa: F401
    attention,
    boxes,
    carafe,
    deform_conv,
    focal_loss,
    masked_conv,
    rois,
)
from mmentropy.compat.mmcv_ops.operators import OPS  # noqa: F401
