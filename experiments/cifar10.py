"""Changes of a recipe for CIFAR-10 as JPEG in class folders, with images that stay decoded."""

from functools import cache

from mmengine.config import Config
from records import ROOT

LOAD = [dict(type='CheckedLoadImageFromFile', color_type='unchanged')]
LABELLED = [*LOAD, dict(type='PackInputs')]
FAST = [dict(type='ResidentImagesHook'), dict(type='ChannelsLastHook')]
# Channels of the first stage, half of the recipes', so that all fits into a night of two cores.
CHANNELS = 16


def images(split: str, pipeline: list[dict]) -> dict:
    """The data set of a split."""
    return dict(type='ClassFolders', data_root=f'{{data}}/{split}', pipeline=pipeline)


def fold(pipeline: list[dict], held_out: bool) -> dict:
    """A tenth of the training images, drawn once for all experiments, or the other nine tenths."""
    whole = images('train', pipeline)
    return dict(type='KFoldDataset', dataset=whole, num_splits=10, seed=0, test_mode=held_out)


def data(held_out: bool = False) -> dict:
    """The changes for training on all training images, with test images as queries.

    With ``held_out`` training and the bank are nine tenths of the training images, and the queries
    are the others.
    """
    pack = [*LOAD, dict(type='PackImage')]
    if held_out:
        trained, bank, queries = fold(pack, False), fold(LABELLED, False), fold(LABELLED, True)
    else:
        trained, bank = images('train', pack), images('train', LABELLED)
        queries = images('test', LABELLED)
    return {
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset': dict(_delete_=True, **trained),
        'eval_datasets.train': dict(_delete_=True, **bank),
        'eval_datasets.test': dict(_delete_=True, **queries),
    }


@cache
def config(recipe: str) -> Config:
    """The config of a recipe."""
    return Config.fromfile(ROOT / recipe)


def budget(recipe: str, epochs: int, factor: float = 1.0, held_out: bool = False) -> dict:
    """The changes that give a recipe the data, backbone, precision and length of all others.

    Args:
        recipe: one of the recipes for CIFAR-10 with a narrow backbone.
        epochs: the length of training.
        factor: what the recipe's learning rate is multiplied by.
        held_out: as of :func:`data`.
    """
    cfg = config(recipe)
    lr = cfg.optim_wrapper.optimizer.lr * factor
    # The predictor of SimSiam has the learning rate of the others, without schedule.
    hooks = [dict(hook, lr=lr) for hook in cfg.custom_hooks if hook.type == 'SimSiamHook']
    return (
        data(held_out)
        | narrow(cfg.model)
        | {
            'optim_wrapper.type': 'BFloat16OptimWrapper',
            'optim_wrapper.optimizer.lr': lr,
            'train_cfg.max_epochs': epochs,
            'custom_hooks': [*hooks, *FAST],
        }
    )


def narrow(model: dict) -> dict:
    """The changes for a backbone of fewer channels, whose features go into neck or head."""
    after = 'head' if model.neck.type == 'GlobalAveragePooling' else 'neck'
    after += '.projector' if 'projector' in model[after] else ''
    return {
        'model.backbone.stem_channels': CHANNELS,
        'model.backbone.base_channels': CHANNELS,
        f'model.{after}.in_channels': 4 * CHANNELS,
    }


def setting_runs(
    settings: dict[str, tuple[str, float, dict]], epochs: int, seeds: int, held_out: bool = False
) -> list[dict]:
    """Runs that compare settings, a seed of all after the other.

    Args:
        settings: recipe, factor on its learning rate and changes, by what tables call a setting.
        epochs: the length of training.
        seeds: how many.
        held_out: as of :func:`data`; then there is kNN only, which chooses.
    """
    return [
        dict(
            label=dict(setting=name, epochs=epochs),
            recipe=recipe,
            changes=budget(recipe, epochs, factor, held_out) | changes,
            seed=seed,
            evaluate=['--protocols', 'knn' if held_out else 'knn,linear'],
        )
        for seed in range(seeds)
        for name, (recipe, factor, changes) in settings.items()
    ]
