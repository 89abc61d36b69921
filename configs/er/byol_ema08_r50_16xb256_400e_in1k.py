# EMA 0.8 to 1.
_base_ = 'byol_r50_16xb256_400e_in1k.py'

model = dict(base_momentum=0.2)
