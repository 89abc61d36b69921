"""CIFAR-100 enlarged to 224 x 224 pixels: 50,000 + 10,000 images.

For a backbone trained at 32 x 32 pixels take the data of
configs/minent/minent_r18_1xb128_1000e_cifar100.py.

Run: python tools/evaluate.py CHECKPOINT --data configs/benchmarks/features/cifar100.py
"""

_base_ = '_base_/eval_224.py'
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
