"""FCN on Cityscapes, 40,000 iterations.

open-mmlab/mmselfsup@14fa616:configs/benchmarks/mmsegmentation/cityscapes/
fcn_r50-d8_4xb2-40k_cityscapes-769x769.py, which is mmseg's of that name.

The stem is a plain ResNet's in place of three convolutions, batch norm spans all GPUs, and
the backbone is one of ours.

Paper: not reported by MEC, ER or MinEnt.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/segmentation/fcn_r50-d8_4xb2_40k_cityscapes.py 4
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmseg::_base_/models/fcn_r50-d8.py',
    'mmseg::_base_/datasets/cityscapes_769x769.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_40k.py',
]
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)

# Model; the base states the rest of it
norm_cfg = dict(type='GlobalBN')
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(769, 769)),
    backbone=dict(
        type='ResNet',
        norm_cfg=norm_cfg,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None),
    ),
    decode_head=dict(norm_cfg=norm_cfg, align_corners=True),
    auxiliary_head=dict(norm_cfg=norm_cfg, align_corners=True),
    # Large images are tested by overlapping parts.
    test_cfg=dict(mode='slide', crop_size=(769, 769), stride=(513, 513)),
)

# Data, optimiser (SGD at 0.01) and schedule are those of the bases
auto_scale_lr = dict(enable=False, base_batch_size=8)
