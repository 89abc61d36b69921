# MEC with ViT-S. The paper only names the practice of MoCo v3: optimiser, EMA,
# warm-up and projector are those of mmpretrain's MoCo v3.
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/mec_vit_s.py',
    '../_base_/datasets/imagenet_byol.py', '../_base_/schedules/cosine.py'
]

gpus, batch_size = 16, 256
max_epochs, warmup_epochs = 300, 40
model = dict(head=dict(loss=dict(warmup=10 / max_epochs)))
train_dataloader = dict(batch_size=batch_size)
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=1.5e-4 * gpus * batch_size / 256, weight_decay=0.1))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        end=warmup_epochs,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warmup_epochs,
        convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=gpus * batch_size)
