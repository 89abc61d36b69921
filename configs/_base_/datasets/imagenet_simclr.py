# ImageNet-1k with the two like views of SimCLR.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs32_simclr.py',
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
