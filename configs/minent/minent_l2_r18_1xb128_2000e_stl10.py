"""MinEnt on STL-10 with columns of unit length in place of the batch norm.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_l2_r18_1xb128_2000e_stl10.py
"""

_base_ = 'minent_r18_1xb128_2000e_stl10.py'
model = dict(head=dict(loss=dict(norm='l2')))
