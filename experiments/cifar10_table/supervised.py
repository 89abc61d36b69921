"""The backbone of the table trained with labels, on one view of each image."""

_base_ = '../../configs/baselines/simclr_fast_r18s_1xb256_10e_cifar10.py'
model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=_base_.model.backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
data_preprocessor = dict(
    _delete_=True,
    type='ClsDataPreprocessor',
    mean=_base_.data_preprocessor.mean,
    std=_base_.data_preprocessor.std,
)
labelled_view = [dict(type='NumpyToPIL'), *_base_.view, dict(type='PILToNumpy')]
train_dataloader = dict(
    collate_fn=dict(type='default_collate'),
    dataset=dict(pipeline=[*labelled_view, dict(type='PackInputs')]),
)
