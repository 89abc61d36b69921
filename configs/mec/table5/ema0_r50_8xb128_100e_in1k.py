# (d) no EMA: the target shares the weights.
_base_ = '../paper_r50_8xb128_100e_in1k.py'

model = dict(base_momentum=None)
