"""FCN on VOC 2012 with the additional annotations, 20,000 iterations.

open-mmlab/mmselfsup@b62f464:configs/benchmarks/mmsegmentation/voc12aug/
fcn_r50-d8_4xb4-20k_voc12aug-512x512.py, which is mmseg's of that name.

The stem is a plain ResNet's in place of three convolutions, batch norm spans all GPUs, and
the backbone is one of ours.

Paper: not reported by MEC, ER or MinEnt.
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/segmentation/fcn_r50-d8_4xb4_20k_voc12aug.py 4
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmseg::_base_/models/fcn_r50-d8.py',
    'mmseg::_base_/datasets/pascal_voc12_aug.py',
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_20k.py',
]
custom_imports = dict(imports=['mmentropy'], allow_failed_imports=False)

# Model; the base states the rest of it
norm_cfg = dict(type='GlobalBN')
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type='ResNet',
        norm_cfg=norm_cfg,
        init_cfg=dict(type='PretrainedBackbone', checkpoint=None),
    ),
    decode_head=dict(norm_cfg=norm_cfg, num_classes=21),
    auxiliary_head=dict(norm_cfg=norm_cfg, num_classes=21),
)

# Data, optimiser (SGD at 0.01) and schedule are those of the bases
auto_scale_lr = dict(enable=False, base_batch_size=16)
