# mmpretrain's SimSiam under the budget of our methods on Fashion-MNIST.
_base_ = '../_base_/fashion_mnist_r18s_6e.py'

norm_cfg = dict(type='GlobalBN')
model = dict(
    type='SimSiam',
    neck=dict(
        type='NonLinearNeck',
        in_channels=128,
        hid_channels=512,
        out_channels=512,
        with_last_bn_affine=False,
        norm_cfg=norm_cfg),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=512,
            hid_channels=128,
            out_channels=512,
            with_last_bn=False,
            with_last_bias=True,
            with_avg_pool=False,
            norm_cfg=norm_cfg),
        loss=dict(type='CosineSimilarityLoss')))
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.25, momentum=0.9, weight_decay=1e-4))
