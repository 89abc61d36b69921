"""Mask R-CNN on C4 and COCO, 12 epochs.

Paper: box AP50 / AP / AP75 59.8 / 39.8 / 43.2, mask 56.3 / 34.7 / 36.8 (arXiv 2210.11464 table 3).
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/mask-rcnn_r50-c4_8xb2_1x_coco.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
        model.roi_head.shared_head.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50-caffe-c4.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py',
    'mmdet::_base_/schedules/schedule_1x.py',
]
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)

# Model; the base states the rest of it. All layers are trained, batch norm spans the GPUs and
# follows C5 once more, and C5, which is in the head, is pre-trained as well:
# facebookresearch/moco@34020351:detection/configs/Base-RCNN-C4-BN.yaml and train_net.py.
norm_cfg = dict(type='GlobalBN')
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=dict(_delete_=True, **norm_cfg),
        norm_eval=False,
        style='pytorch',
        init_cfg=dict(
            _delete_=True,
            type='PretrainedBackbone',
            checkpoint=None,
            # The backbone has 258 of the 318 keys of a ResNet-50, the others are those of C5.
            min_match=0.8,
        ),
    ),
    roi_head=dict(
        shared_head=dict(
            type='ResLayerWithNorm',
            norm_cfg=dict(_delete_=True, **norm_cfg),
            norm_eval=False,
            style='pytorch',
            init_cfg=dict(type='PretrainedC5', checkpoint=None),
        ),
    ),
    # Anchors across the border are trained, as in Detectron2.
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)

# Data: COCO with a shorter side of 640 to 800 pixels in training, as in
# facebookresearch/moco@34020351:detection/configs/coco_R_50_C4_2x.yaml
train_pipeline = list(_base_.train_pipeline)
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, side) for side in range(640, 801, 32)],
    keep_ratio=True,
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# Optimiser and schedule: mmdet's 1x, SGD at 0.02; batch norm without decay is Detectron2's default
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
