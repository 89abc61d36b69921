# Flowers-102, mean over the classes.
_base_ = ['_base_/r50_5000i_per_class.py', '../features/flowers102.py']

model = dict(head=dict(num_classes=102))
train_dataloader = dict(
    dataset=dict(
        _base_.eval_datasets['train'],
        pipeline=_base_.load + _base_.train_pipeline))
val_dataloader = dict(dataset=_base_.eval_datasets['test'])
test_dataloader = val_dataloader
