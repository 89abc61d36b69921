# EntRecCont of the predecessor of ER: Joe's estimator.
_base_ = 'simclr_r50_16xb256_400e_in1k.py'

model = dict(head=dict(loss=dict(estimator='joe')))
