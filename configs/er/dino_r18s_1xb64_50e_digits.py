# DINO+ER on Digits, without centring. The sharper targets keep the assignments
# from settling on the uniform distribution.
_base_ = '../baselines/dino_r18s_1xb64_50e_digits.py'

model = dict(
    center_momentum=None,
    head=dict(
        loss=dict(
            _delete_=True,
            type='ERLoss',
            support='simplex',
            temperature=0.1,
            target_temperature=0.04)))
