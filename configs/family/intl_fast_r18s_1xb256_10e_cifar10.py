"""INTL on CIFAR-10 with a narrow backbone, 10 epochs, views made in batch.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/family/intl_fast_r18s_1xb256_10e_cifar10.py
"""

_base_ = 'vicreg_fast_r18s_1xb256_10e_cifar10.py'
model = dict(
    together=False,
    head=dict(_delete_=True, type='INTLLoss', whitening='channel', iterations=4, trade_off=None),
)
