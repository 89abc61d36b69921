"""MinEnt on STL-10 without normalisation, the control of the paper.

Paper: not reported.
Ours: not run.
Run: python tools/train.py configs/minent/minent_none_r18_1xb128_2000e_stl10.py
"""

_base_ = 'minent_r18_1xb128_2000e_stl10.py'
model = dict(head=dict(loss=dict(norm='none')))
