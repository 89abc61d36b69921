# Shorter side 640 to 800 in training, as in facebookresearch/moco@34020351:
# detection/configs/coco_R_50_C4_2x.yaml.
_base_ = [
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/default_runtime.py'
]

train_pipeline = list(_base_.train_pipeline)
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, side) for side in range(640, 801, 32)],
    keep_ratio=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
