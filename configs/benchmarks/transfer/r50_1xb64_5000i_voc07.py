# Pascal VOC 2007, mean average precision at 11 points.
_base_ = ['_base_/r50_5000i.py', '../features/voc07.py']

model = dict(
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=20,
        # mmpretrain sums over the classes, the original takes their mean.
        loss=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1 / 20)))
train_dataloader = dict(
    dataset=dict(
        _base_.eval_datasets['train'],
        pipeline=_base_.load + _base_.train_pipeline))
val_dataloader = dict(dataset=_base_.eval_datasets['test'])
test_dataloader = val_dataloader
val_evaluator = dict(type='VOC07AveragePrecision')
test_evaluator = val_evaluator
