"""CIFAR-10 enlarged to 224 x 224 pixels: 50,000 + 10,000 images.

For a backbone trained at 32 x 32 pixels take the data of
configs/mec/r18_1xb1024_600e_cifar10.py.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/cifar10.py
"""

_base_ = '_base_/eval_224.py'
# The arrays are RGB; backbones take BGR, as of files.
load = [dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True)]
eval_pipeline = load + _base_.crop + [dict(type='PackInputs')]
eval_datasets = dict(
    train=dict(
        type='LocalCIFAR10', data_root='data/cifar10', split='train', pipeline=eval_pipeline
    ),
    test=dict(type='LocalCIFAR10', data_root='data/cifar10', split='test', pipeline=eval_pipeline),
)
