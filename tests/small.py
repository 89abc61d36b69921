"""A training that takes a second."""

import os
import time

from mmengine.config import Config

from mmentropy.distributed import cpu_wrapper

LOSSES = dict(MEC=('MECHead', 'MECLoss'), SimSiam=('LatentPredictHead', 'CosineSimilarityLoss'))


def small_config(folder, dataset, algorithm='MEC', norm='BN1d', epochs=2, batch_size=8):
    """A network of 32 features and 8 dimensions, shuffled images, no workers.

    Args:
        folder: The work directory.
        dataset: Config of the training set.
        norm: Type of the norms after the backbone's.
    """
    head, loss = LOSSES[algorithm]
    projector = dict(
        type='NonLinearNeck',
        in_channels=32,
        hid_channels=16,
        out_channels=8,
        norm_cfg=dict(type=norm),
    )
    predictor = dict(projector, in_channels=8, with_avg_pool=False)
    return Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(folder),
            # Runners of one name would share their log.
            experiment_name=f'{folder.parent.name}_{folder.name}_{time.monotonic_ns()}',
            randomness=dict(seed=1),
            model=dict(
                type=algorithm,
                backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4),
                neck=projector,
                head=dict(type=head, loss=dict(type=loss), predictor=predictor),
            ),
            train_dataloader=dict(
                batch_size=batch_size,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dataset,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        )
    )


def on_rank(cfg, rank, name):
    """The config of one of several gloo ranks, whose runs share a name."""
    cfg.experiment_name = name
    cfg.launcher = 'pytorch'
    cfg.model_wrapper_cfg = cpu_wrapper()
    os.environ['LOCAL_RANK'] = str(rank)
    return cfg
