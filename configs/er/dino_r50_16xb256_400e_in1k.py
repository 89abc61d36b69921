# DINO+ER at batch 4096, without centring.
_base_ = '../baselines/dino_r50_16xb256_400e_in1k.py'

model = dict(
    center_momentum=None,
    head=dict(
        loss=dict(
            _delete_=True,
            type='ERLoss',
            support='simplex',
            temperature=0.1,
            target_temperature=0.04)))
