# CIFAR-100 enlarged to 224 x 224: 50,000 + 10,000 images. For a backbone trained
# at 32 x 32 take configs/_base_/datasets/cifar100.py instead.
_base_ = '_base_/eval_224.py'

# The arrays are RGB.
load = [dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True)]
eval_pipeline = load + _base_.crop + [dict(type='PackInputs')]
eval_datasets = dict(
    train=dict(
        type='LocalCIFAR100',
        data_root='data/cifar100',
        split='train',
        pipeline=eval_pipeline),
    test=dict(
        type='LocalCIFAR100',
        data_root='data/cifar100',
        split='test',
        pipeline=eval_pipeline))
