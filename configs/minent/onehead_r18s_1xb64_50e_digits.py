# One head.
_base_ = 'r18s_1xb64_50e_digits.py'

model = dict(head=dict(out_channels=128))
