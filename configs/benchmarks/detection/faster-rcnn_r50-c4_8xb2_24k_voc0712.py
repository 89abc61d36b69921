# Faster R-CNN on C4, facebookresearch/moco@90e244a:
# detection/configs/pascal_voc_R_50_C4_24k.yaml, table 3 of MEC:
#   --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT \
#       model.roi_head.shared_head.init_cfg.checkpoint=CHECKPOINT
_base_ = [
    '_base_/mask-rcnn_r50-c4.py', 'mmdet::_base_/datasets/voc0712.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py'
]

iterations = 24000
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(bbox_head=dict(num_classes=20), mask_head=None))

train_pipeline = list(_base_.train_pipeline)
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, side) for side in range(480, 801, 32)],
    keep_ratio=True)
test_pipeline = list(_base_.test_pipeline)
test_pipeline[1] = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        # One description of both years.
        ignore_keys='dataset_type',
        datasets=[
            dict(
                type='VOCDataset',
                data_root=_base_.data_root,
                ann_file=f'{year}/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=f'{year}/'),
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=train_pipeline) for year in ('VOC2007', 'VOC2012')
        ]))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
# AP (mAP), AP50 and AP75 as in the tables.
val_evaluator = dict(iou_thrs=[t / 100 for t in range(50, 100, 5)])
test_evaluator = val_evaluator

# Detectron2's default.
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=100),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        end=iterations,
        milestones=[iterations * 18 // 24, iterations * 22 // 24])
]
train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=iterations,
    val_interval=iterations // 4)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=iterations // 4))
log_processor = dict(by_epoch=False)
