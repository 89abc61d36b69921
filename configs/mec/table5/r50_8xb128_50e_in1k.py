# (a) 50 epochs.
_base_ = '../paper_r50_8xb128_100e_in1k.py'

max_epochs = 50
model = dict(head=dict(loss=dict(warmup=10 / max_epochs)))
train_cfg = dict(max_epochs=max_epochs)
