"""Faster R-CNN on C4 and VOC 2007 and 2012, 24,000 iterations.

facebookresearch/moco@90e244a:detection/configs/pascal_voc_R_50_C4_24k.yaml.

Paper: AP50 / AP / AP75 82.8 / 57.5 / 64.5 (arXiv 2210.11464 table 3).
Ours: not run.
Run: bash tools/dist_train.sh configs/benchmarks/detection/faster-rcnn_r50-c4_8xb2_24k_voc0712.py 8
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
        model.roi_head.shared_head.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50-caffe-c4.py',
    'mmdet::_base_/datasets/voc0712.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)
iterations = 24000

# Model; the base states the rest of it. All layers are trained, batch norm spans the GPUs and
# follows C5 once more, and C5, which is in the head, is pre-trained as well:
# facebookresearch/moco@34020351:detection/configs/Base-RCNN-C4-BN.yaml and train_net.py.
norm_cfg = dict(type='GlobalBN')
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_mask=False
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
        bbox_head=dict(num_classes=20),
        mask_head=None,
    ),
    # Anchors across the border are trained, as in Detectron2.
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)

# Data: a shorter side of 480 to 800 pixels in training
train_pipeline = list(_base_.train_pipeline)
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, side) for side in range(480, 801, 32)],
    keep_ratio=True,
)
test_pipeline = list(_base_.test_pipeline)
test_pipeline[1] = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        # Both years have one description.
        ignore_keys='dataset_type',
        datasets=[
            dict(
                type='VOCDataset',
                data_root=_base_.data_root,
                ann_file=f'{year}/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=f'{year}/'),
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=train_pipeline,
            )
            for year in ('VOC2007', 'VOC2012')
        ],
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
# AP (mAP), AP50 and AP75 as in the tables.
val_evaluator = dict(iou_thrs=[t / 100 for t in range(50, 100, 5)])
test_evaluator = val_evaluator

# Optimiser and schedule: SGD at 0.02; batch norm without decay is Detectron2's default
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=100),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        end=iterations,
        milestones=[iterations * 18 // 24, iterations * 22 // 24],
    ),
]
train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=iterations,
    val_interval=iterations // 4,
)

# Hooks and runtime
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=iterations // 4))
log_processor = dict(by_epoch=False)
