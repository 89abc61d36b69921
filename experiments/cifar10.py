"""Changes of a recipe for CIFAR-10 as JPEG in class folders, with images that stay decoded."""

LOAD = [dict(type='CheckedLoadImageFromFile', color_type='unchanged')]
LABELLED = [*LOAD, dict(type='PackInputs')]
FAST = [dict(type='ResidentImagesHook'), dict(type='ChannelsLastHook')]


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
    trained, bank, queries = images('train', pack), images('train', LABELLED), None
    if held_out:
        trained, bank, queries = fold(pack, False), fold(LABELLED, False), fold(LABELLED, True)
    queries = queries or images('test', LABELLED)
    return {
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset': dict(_delete_=True, **trained),
        'eval_datasets.train': dict(_delete_=True, **bank),
        'eval_datasets.test': dict(_delete_=True, **queries),
    }
