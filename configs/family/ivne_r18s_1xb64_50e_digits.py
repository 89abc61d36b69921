"""I-VNE+ on Digits.

Paper: not reported.
Ours: 98.73 linear, 98.4 kNN (k = 20); mean of seeds 0, 1, 2, commit afdfea39c2, 127 seconds.
Run: python tools/train.py configs/family/ivne_r18s_1xb64_50e_digits.py
"""

_base_ = 'vicreg_r18s_1xb64_50e_digits.py'
model = dict(together=True, head=dict(_delete_=True, type='IVNELoss', invariance=4.16, entropy=1.0))
