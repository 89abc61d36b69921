# SimCLR+ER at batch 4096.
_base_ = '../baselines/simclr_r50_16xb256_400e_in1k.py'

model = dict(
    type='ER',
    head=dict(
        _delete_=True,
        type='ERHead',
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))
