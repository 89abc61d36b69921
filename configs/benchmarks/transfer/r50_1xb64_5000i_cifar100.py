"""Fine-tuning of a ResNet-50 on CIFAR-100 at 224 x 224 pixels: top-1, MEC's table 8.

Ours: not run.
Run: python tools/train.py configs/benchmarks/transfer/r50_1xb64_5000i_cifar100.py
    --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
"""

_base_ = '_base_/transfer_r50_5000i.py'

# Model
model = dict(head=dict(num_classes=100))

# Data: CIFAR-100 enlarged to 224 x 224 pixels: 50,000 + 10,000 images
# The arrays are RGB; backbones take BGR, as of files.
load = [dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True)]
eval_pipeline = load + _base_.crop + [dict(type='PackInputs')]
eval_datasets = dict(
    train=dict(
        type='LocalCIFAR100', data_root='data/cifar100', split='train', pipeline=eval_pipeline
    ),
    test=dict(
        type='LocalCIFAR100', data_root='data/cifar100', split='test', pipeline=eval_pipeline
    ),
)
train_dataloader = dict(dataset=dict(eval_datasets['train'], pipeline=load + _base_.train_pipeline))
val_dataloader = dict(dataset=eval_datasets['test'])
test_dataloader = val_dataloader
