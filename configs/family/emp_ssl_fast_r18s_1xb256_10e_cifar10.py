"""EMP-SSL with four views on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

Paper: not reported.
Ours: not run; with half of the channels and 9 times the learning rate 58.9 linear, 62 kNN (k =
    20), mean of 3 seeds (experiments/cifar10_table).
Run: python tools/train.py configs/family/emp_ssl_fast_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'vicreg_fast_r18s_1xb256_10e_cifar10.py'
model = dict(
    together=True, head=dict(_delete_=True, type='EMPSSLLoss', invariance=200.0, rate=1.0, eps=0.2)
)
views = dict(type='MultiView', num_views=[4], transforms=[_base_.view])
data_preprocessor = dict(pipeline=[dict(type='NumpyToPIL'), views, dict(type='PackInputs')])
