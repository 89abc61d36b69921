"""Fine-tuning of a ResNet-50 on SUN397: top-1, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_sun397.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(head=dict(num_classes=397))

# Data: SUN397, first partition: 19,850 + 19,850 images, 397 classes
eval_datasets = dict(
    train=dict(
        type='SUN397', data_root='data/SUN397', split='train', pipeline=_base_.eval_pipeline
    ),
    test=dict(type='SUN397', data_root='data/SUN397', split='test', pipeline=_base_.eval_pipeline),
)
train_dataloader = dict(
    dataset=dict(eval_datasets['train'], pipeline=_base_.load + _base_.train_pipeline)
)
val_dataloader = dict(dataset=eval_datasets['test'])
test_dataloader = val_dataloader
