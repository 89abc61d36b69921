"""RetinaNet on COCO, 12 epochs.

Schedule and scale are mmdet's. Batch norm spans all GPUs in the backbone and the neck; the head,
which all levels share, has none.

Paper: not reported by MEC.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/retinanet_r50-fpn_8xb2_1x_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

# Model, data and schedule are those of the base, but for:
norm_cfg = dict(type='GlobalBN')
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='PretrainedBackbone', checkpoint=None),
    ),
    neck=dict(norm_cfg=norm_cfg),
)
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
