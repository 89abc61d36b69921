# ImageNet-1k with the two different views of MoCo v3, which MEC's code uses.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs512_mocov3.py',
    'imagenet_eval.py'
]

# mmengine would pass the scope of the base to the collate function.
train_dataloader = dict(
    drop_last=True,
    collate_fn=dict(_delete_=True, type='default_collate'),
    dataset=dict(
        type='ImageNet1k',
        on_unreadable='skip',
        pipeline=[
            dict(type='CheckedLoadImageFromFile'), *_base_.train_pipeline[1:]
        ]))
