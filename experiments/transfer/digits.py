"""Digits as colour images of 32 x 32 pixels, for backbones that were trained on CIFAR-10."""

pipeline = [
    dict(type='NumpyToPIL'),
    dict(type='torchvision/Grayscale', num_output_channels=3),
    dict(type='torchvision/Resize', size=(32, 32)),
    dict(type='PackInputs'),
]
eval_datasets = dict(
    train=dict(type='Digits', split='train', pipeline=pipeline),
    test=dict(type='Digits', split='test', pipeline=pipeline),
)
