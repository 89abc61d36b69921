"""FroSSL on Digits.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/family/frossl_r18s_1xb64_50e_digits.py
"""

_base_ = 'vicreg_r18s_1xb64_50e_digits.py'
model = dict(
    together=False, head=dict(_delete_=True, type='FroSSLLoss', invariance=1.0, entropy=1.0)
)
