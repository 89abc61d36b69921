# Fine-tuning on 10 % of the labels: 70.3 % top-1 and 89.7 % top-5 after 800
# epochs of MEC.
_base_ = 'r50_8xb128_50e_in1k_1p.py'

train_dataloader = dict(dataset=dict(names='data/imagenet/10percent.txt'))
