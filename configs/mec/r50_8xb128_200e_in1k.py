# 200 epochs; lambda warms up over the first 10.
_base_ = 'r50_8xb128_100e_in1k.py'

max_epochs = 200
model = dict(head=dict(loss=dict(warmup=10 / max_epochs)))
train_cfg = dict(max_epochs=max_epochs)
