# SimCLR+ER on Digits.
_base_ = '../baselines/simclr_r18s_1xb64_50e_digits.py'

model = dict(
    type='ER',
    head=dict(
        _delete_=True,
        type='ERHead',
        loss=dict(type='ERLoss', support='sphere', kappa=10.)))
optim_wrapper = dict(optimizer=dict(lr=0.1))
