"""EntRecDisc of the predecessor of ER on ImageNet-1k: softmax assignments of both views.

Its number of assignments is not known.

Paper: 66.9 linear (OpenReview UHPva3PuKLN, table 1).
Ours: not run.
Run: bash tools/dist_train.sh configs/er/er_entrec_disc_r50_16xb256_400e_in1k.py 16
Fewer cards: 1 with optim_wrapper.accumulative_counts=16, 4 with
    optim_wrapper.accumulative_counts=4, 8 with optim_wrapper.accumulative_counts=2; batch norm
    sees the images of an iteration.
"""

_base_ = 'er_simclr_r50_16xb256_400e_in1k.py'
model = dict(
    neck=dict(out_channels=2048),
    head=dict(
        loss=dict(_delete_=True, type='ERLoss', support='simplex', temperature=1.0, gather=False)
    ),
)
