"""Fine-tuning of a ResNet-50 on FGVC-Aircraft: mean accuracy of the classes, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_aircraft.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(head=dict(num_classes=100))

# Data: FGVC-Aircraft: 6,667 + 3,333 images, 100 variants
eval_datasets = dict(
    train=dict(
        type='FGVCAircraft',
        data_root='data/fgvc-aircraft-2013b',
        split='trainval',
        pipeline=_base_.eval_pipeline,
    ),
    test=dict(
        type='FGVCAircraft',
        data_root='data/fgvc-aircraft-2013b',
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
