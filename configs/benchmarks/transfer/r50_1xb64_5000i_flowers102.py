"""Fine-tuning of a ResNet-50 on Flowers-102: mean accuracy of the classes, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_flowers102.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(head=dict(num_classes=102))

# Data: Flowers-102: 2,040 + 6,149 images, 102 classes
eval_datasets = dict(
    train=dict(
        type='Flowers102',
        data_root='data/Flowers102',
        split='trainval',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='Flowers102', data_root='data/Flowers102', split='test', pipeline=_base_.eval_pipeline
    ),
)
train_dataloader = dict(
    dataset=dict(eval_datasets['train'], pipeline=_base_.load + _base_.train_pipeline)
)
val_dataloader = dict(dataset=eval_datasets['test'])
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='SingleLabelMetric', thrs=None, items=['recall'])
test_evaluator = val_evaluator
