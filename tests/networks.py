"""Small networks of every method, and batches for them."""

import torch
from mmpretrain.registry import MODELS

BN = dict(type='GlobalBN')


BACKBONE = dict(
    type='ResNet_CIFAR',
    depth=18,
    stem_channels=8,
    base_channels=8,
    norm_cfg=BN,
    zero_init_residual=False,
)


NECK = dict(type='NonLinearNeck', in_channels=64, hid_channels=32, out_channels=16, norm_cfg=BN)


PREDICTOR = dict(
    type='NonLinearNeck',
    in_channels=16,
    hid_channels=8,
    out_channels=16,
    with_avg_pool=False,
    with_last_bn=False,
    with_last_bias=True,
    norm_cfg=BN,
)


PROTOTYPES = dict(type='PrototypeNeck', projector=NECK, in_channels=16, num_prototypes=24)


HEADS = {
    'mec': dict(
        type='MEC',
        neck=NECK,
        base_momentum=0.1,
        head=dict(type='MECHead', predictor=PREDICTOR, loss=dict(type='MECLoss')),
    ),
    'mec_symmetric_shared': dict(
        type='MEC',
        neck=NECK,
        base_momentum=None,
        head=dict(type='MECHead', loss=dict(type='MECLoss', exact=True)),
    ),
    'er_simclr': dict(type='ER', neck=NECK, head=dict(type='ERHead', loss=dict(type='ERLoss'))),
    'er_byol': dict(
        type='ER',
        neck=NECK,
        base_momentum=0.1,
        head=dict(type='ERHead', predictor=PREDICTOR, loss=dict(type='ERLoss')),
    ),
    'dino': dict(
        type='DINO',
        neck=PROTOTYPES,
        base_momentum=0.1,
        head=dict(type='ERHead', loss=dict(type='DINOLoss')),
    ),
    'dino_er': dict(
        type='DINO',
        neck=PROTOTYPES,
        base_momentum=0.1,
        center_momentum=None,
        head=dict(type='ERHead', loss=dict(type='ERLoss', support='simplex')),
    ),
    'minent': dict(
        type='MinEnt',
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='MinEntHead',
            in_channels=64,
            hid_channels=16,
            out_channels=[16, 8],
            norm_cfg=BN,
            loss=dict(type='MinEntLoss'),
        ),
    ),
    'simdino': dict(type='SimDINO', neck=NECK, base_momentum=0.1, head=dict(type='SimDINOLoss')),
    'matrix_ssl': dict(
        type='MatrixSSL',
        neck=NECK,
        base_momentum=0.1,
        head=dict(type='MatrixSSLHead', predictor=PREDICTOR, loss=dict(type='MatrixSSLLoss')),
    ),
    'corinfomax': dict(
        type='JointEmbedding', neck=NECK, head=dict(type='CorInfoMaxLoss', in_channels=16)
    ),
    'lejepa': dict(type='JointEmbedding', neck=NECK, head=dict(type='LeJEPALoss')),
    'vicreg': dict(type='JointEmbedding', together=False, neck=NECK, head=dict(type='VICRegLoss')),
}


METRICS = dict(
    MEC={'coding_length', 'spectral_norm', 'guard_active'},
    ER={'entropy', 'reconstruction'},
    DINO={'entropy', 'reconstruction'},
    MinEnt={'target_entropy'},
    SimDINO={'similarity', 'coding_rate'},
    MatrixSSL={'uniformity', 'alignment'},
    CorInfoMaxLoss={'invariance', 'log_det'},
    LeJEPALoss={'invariance', 'sigreg'},
    VICRegLoss={'invariance', 'variance', 'covariance'},
)


def title(model):
    """The name of a method: that of the algorithm, or of the objective of a joint embedding."""
    name = type(model).__name__
    return type(model.head).__name__ if name == 'JointEmbedding' else name


def build(name):
    cfg = dict(HEADS[name], backbone=BACKBONE)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.train()


def batch(views=2, n=8, size=16):
    return dict(inputs=[torch.randn(n, 3, size, size) for _ in range(views)], data_samples=None)
