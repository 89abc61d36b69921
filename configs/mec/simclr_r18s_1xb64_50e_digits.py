# MEC as a regulariser of SimCLR on Digits.
_base_ = '../baselines/simclr_r18s_1xb64_50e_digits.py'

model = dict(
    type='WithMEC',
    algorithm='SimCLR',
    mec=dict(type='MECLoss', distortion=0.06, warmup=0.1),
    weight=1.)
