# Normalised by a softmax along the batch.
_base_ = 'r18s_1xb64_50e_digits.py'

model = dict(head=dict(loss=dict(norm='softmax')))
