"""Fine-tuning of a ResNet-50 on Food-101: top-1, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_food101.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(head=dict(num_classes=101))

# Data: Food-101: 75,750 + 25,250 images, 101 classes
eval_datasets = dict(
    train=dict(
        type='Food101', data_root='data/food-101', split='train', pipeline=_base_.eval_pipeline
    ),
    test=dict(
        type='Food101', data_root='data/food-101', split='test', pipeline=_base_.eval_pipeline
    ),
)
train_dataloader = dict(
    dataset=dict(eval_datasets['train'], pipeline=_base_.load + _base_.train_pipeline)
)
val_dataloader = dict(dataset=eval_datasets['test'])
test_dataloader = val_dataloader
