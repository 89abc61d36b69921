# EntRecDisc of the predecessor of ER: softmax assignments of both views,
# temperature 1. Its number of assignments is not known.
_base_ = 'simclr_r50_16xb256_400e_in1k.py'

model = dict(
    neck=dict(out_channels=2048),
    head=dict(
        loss=dict(
            _delete_=True, type='ERLoss', support='simplex', temperature=1.)))
