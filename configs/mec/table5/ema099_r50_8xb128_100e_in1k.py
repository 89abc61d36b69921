# (d) EMA 0.99 to 1.
_base_ = '../paper_r50_8xb128_100e_in1k.py'

model = dict(base_momentum=0.01)
