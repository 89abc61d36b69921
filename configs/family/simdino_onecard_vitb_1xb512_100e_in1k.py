"""SimDINO on ImageNet-1k as simdino_vitb_8xb64_*, on one card: the batch is encoded in 8 parts.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/family/simdino_onecard_vitb_1xb512_100e_in1k.py
"""

_base_ = 'simdino_vitb_8xb64_100e_in1k.py'
train_dataloader = dict(batch_size=512)
custom_hooks = [dict(type='ExactAccumulationHook', parts=8)]
