# (f) no predictor.
_base_ = '../paper_r50_8xb128_100e_in1k.py'

model = dict(head=dict(predictor=None))
