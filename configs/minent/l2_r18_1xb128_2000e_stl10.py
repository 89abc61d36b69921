# Columns of unit length.
_base_ = 'r18_1xb128_2000e_stl10.py'

model = dict(head=dict(loss=dict(norm='l2')))
