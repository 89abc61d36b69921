# (e) Taylor order 5.
_base_ = '../paper_r50_8xb128_100e_in1k.py'

model = dict(head=dict(loss=dict(taylor_order=5)))
