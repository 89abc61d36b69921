"""Fine-tuning of a ResNet-50 on Pascal VOC 2007: mean average precision, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_voc07.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=20,
        # mmpretrain sums over the classes, the original takes their mean.
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1 / 20),
    )
)

# Data: Pascal VOC 2007: 5,011 + 4,952 images, several of 20 classes in each
# Objects marked as difficult do not count.
pack = dict(type='PackInputs', meta_keys=('gt_label_difficult',))
eval_pipeline = _base_.load + _base_.crop + [pack]
eval_datasets = dict(
    train=dict(type='VOC', data_root='data/VOC2007', split='trainval', pipeline=eval_pipeline),
    test=dict(type='VOC', data_root='data/VOC2007', split='test', pipeline=eval_pipeline),
)
train_dataloader = dict(
    dataset=dict(eval_datasets['train'], pipeline=_base_.load + _base_.train_pipeline)
)
val_dataloader = dict(dataset=eval_datasets['test'])
test_dataloader = val_dataloader
val_evaluator = dict(type='VOC07AveragePrecision')
test_evaluator = val_evaluator
