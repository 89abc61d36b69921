"""Fine-tuning of a ResNet-50 on Oxford-IIIT Pets: mean accuracy of the classes, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_pets.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(head=dict(num_classes=37))

# Data: Oxford-IIIT Pets: 3,680 + 3,669 images, 37 classes
eval_datasets = dict(
    train=dict(
        type='OxfordIIITPet',
        data_root='data/Oxford-IIIT_Pets',
        split='trainval',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='OxfordIIITPet',
        data_root='data/Oxford-IIIT_Pets',
        split='test',
        pipeline=_base_.eval_pipeline,
    ),
)
train_dataloader = dict(
    dataset=dict(eval_datasets['train'], pipeline=_base_.load + _base_.train_pipeline)
)
val_dataloader = dict(dataset=eval_datasets['test'])
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='SingleLabelMetric', thrs=None, items=['recall'])
test_evaluator = val_evaluator
