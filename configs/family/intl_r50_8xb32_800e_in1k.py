"""INTL on ImageNet-1k for 800 epochs, as in winci-ai/INTL@0aa69af:scripts/ep800.sh.

Paper: 73.1 linear (winci-ai/INTL@0aa69af README).
Ours: not run.
Run: bash tools/dist_train.sh configs/family/intl_r50_8xb32_800e_in1k.py 8
"""

_base_ = 'intl_r50_8xb32_100e_in1k.py'
max_epochs = 800
optim_wrapper = dict(optimizer=dict(lr=0.3))
train_cfg = dict(max_epochs=max_epochs)
