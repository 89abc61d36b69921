"""Fashion-MNIST as colour images of 32 x 32 pixels, for backbones that were trained on CIFAR-10."""

_base_ = 'digits.py'
fashion = dict(_delete_=True, type='LocalFashionMNIST', data_root='data/fashion_mnist')
eval_datasets = dict(
    train=dict(fashion, split='train', pipeline=_base_.pipeline),
    test=dict(fashion, split='test', pipeline=_base_.pipeline),
)
