# CIFAR-10 at 224 x 224, top-1.
_base_ = ['_base_/r50_5000i.py', '../features/cifar10.py']

model = dict(head=dict(num_classes=10))
train_dataloader = dict(
    dataset=dict(
        _base_.eval_datasets['train'],
        pipeline=_base_.load + _base_.train_pipeline))
val_dataloader = dict(dataset=_base_.eval_datasets['test'])
test_dataloader = val_dataloader
