"""The config of a run on a folder of images: in which values it differs from a recipe."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config

from mmentropy.checks.config import nearest_name
from mmentropy.evaluation.embedding_file import utf8
from mmentropy.pretraining.photos import Photos
from mmentropy.pretraining.rules import NEIGHBOURS, choose_lr, schedule
from mmentropy.pretraining.settings import Settings, steps_of
from mmentropy.weights.zoo import CONFIGS

RECIPE = '_r18s_1xb64_50e_digits'
# A backbone, and the width of its features. The narrow one is that of the recipe.
BACKBONES: dict[str, tuple[dict[str, Any], int]] = dict(
    resnet18s=({}, 128),
    resnet18=(dict(_delete_=True, type='ResNet', depth=18, zero_init_residual=False), 512),
    resnet34=(dict(_delete_=True, type='ResNet', depth=34, zero_init_residual=False), 512),
    resnet50=(dict(_delete_=True, type='ResNet', depth=50), 2048),
)


def methods() -> dict[str, str]:
    """Return the recipe that a run of each method inherits, ``mec/r18s_1xb64_50e_digits.py``."""
    found = {}
    for path in sorted(CONFIGS.glob(f'*/*{RECIPE[1:]}.py')):
        name = path.stem.removesuffix(RECIPE[1:]).removesuffix('_') or 'mec'
        # Fast recipes are the same methods, CMC has one encoder for each part of the colours, and
        # DeepCluster clusters data that a config names beside those of training.
        if 'fast' not in name and name not in ('cmc', 'deepcluster'):
            found[name] = f'{path.parent.name}/{path.name}'
    return found | dict(er=found['er_byol'])


def recipe_of(method: str) -> str:
    """Return the recipe of a method.

    Raises:
        ValueError: there is no such method; one line.
    """
    known = methods()
    if method not in known:
        raise ValueError(
            f'method: no {method!r}{nearest_name(method, known)}; there are {", ".join(known)}'
        )
    return known[method]


def write_config(path: Path, recipe: str, photos: Photos, chosen: Settings, seed: int) -> None:
    """Write a run's config, which inherits a recipe of the package, and its lists of files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if chosen.held_out:
        write_lists(photos, chosen.held_out, path.parent)
    values = changes(Config.fromfile(CONFIGS / recipe), photos, chosen, path.parent, seed)
    title = f'"""Pre-training on {len(photos.files):,} images, as `mmentropy pretrain` chose it."""'
    text = f"{title}\n\n_base_ = 'mmentropy::{recipe}'\n{Config(values).pretty_text}"
    path.write_text(text)


def write_lists(photos: Photos, held_out: Sequence[str], out: Path) -> None:
    """Write the files that are trained on and those that are held out, with their classes.

    Raises:
        ValueError: a name cannot be written as a line; one line.
    """
    for file in photos.files:
        if file != file.strip() or '\n' in file or file != utf8(file):
            raise ValueError(
                f'{utf8(file)!r} in {photos.folder} is not UTF-8, has a line break, or a space at '
                'one of its ends: rename it, since images of class folders are listed by name'
            )
    held = {*held_out}
    train = [file for file in photos.files if file not in held]
    (out / 'train_files.txt').write_text('\n'.join(train) + '\n')
    labels = {name: label for label, name in enumerate(photos.classes)}
    for name, files in dict(train=train, held_out=held_out).items():
        lines = [f'{file} {labels[PurePath(file).parts[0]]}\n' for file in files]
        (out / f'{name}_labels.txt').write_text(''.join(lines))


def changes(base: Config, photos: Photos, chosen: Settings, out: Path, seed: int) -> dict[str, Any]:
    """Return in which values a run differs from the recipe of its method.

    Args:
        base: the recipe.
        photos: what is known of the images.
        chosen: the settings; where ``epochs`` are not chosen yet, as before the trial, one counts.
        out: the folder with the lists of files, where there are classes.
        seed: of the run.
    """
    epochs = chosen.epochs or 1
    multi_view = base.train_dataloader.dataset.pipeline[0]
    to_rgb = dict(to_rgb=True) if photos.color_type == 'color' else {}
    dataset = dict(_delete_=True, type='ImageFolder', data_root=photos.folder)
    if chosen.held_out:
        dataset['ann_file'] = str(out / 'train_files.txt')
    kind = 'ReducedLoadImageFromFile' if to_rgb else 'CheckedLoadImageFromFile'
    load: dict[str, Any] = dict(type=kind, color_type=photos.color_type)
    if to_rgb:
        load |= dict(size=chosen.side, crop_ratio_range=(0.2, 1.0))
    backbone, width = BACKBONES[chosen.backbone]
    backbone = dict(backbone, in_channels=len(photos.mean))
    if '_delete_' in backbone:
        backbone['norm_cfg'] = dict(base.norm_cfg)
    optimizer = base.optim_wrapper.optimizer
    return dict(
        model=dict(backbone=backbone, **projector_of_width(base.model, width)),
        data_preprocessor=dict(
            _delete_=True,
            type='BatchViews',
            mean=photos.mean,
            std=photos.std,
            **to_rgb,
            pipeline=views(photos, chosen.side, multi_view.num_views[0]),
        ),
        train_dataloader=dict(
            batch_size=chosen.batch,
            num_workers=chosen.workers,
            persistent_workers=chosen.workers > 0,
            collate_fn=dict(type='collate_images'),
            dataset=dict(dataset, pipeline=[load, dict(type='PackImage')]),
        ),
        **measuring(base, photos, chosen, out),
        optim_wrapper=dict(
            type='BFloat16OptimWrapper' if chosen.bfloat16 else 'OptimWrapper',
            optimizer=dict(lr=choose_lr(optimizer, chosen.batch), fused=True),
        ),
        param_scheduler=schedule(epochs),
        train_cfg=dict(max_epochs=epochs),
        auto_scale_lr=dict(base_batch_size=chosen.batch),
        default_hooks=dict(checkpoint=dict(interval=max(1, epochs // 5))),
        randomness=dict(seed=seed),
    )


def projector_of_width(model: dict, width: int) -> dict[str, Any]:
    """Return the change by which the projector of a model takes features of another width."""
    taken = dict(in_channels=width)
    # Prototypes stand after a projector.
    if 'projector' in model['neck']:
        return dict(neck=dict(projector=taken))
    return dict(neck=taken) if 'in_channels' in model['neck'] else dict(head=taken)


def views(photos: Photos, side: int, count: int) -> list[dict]:
    """Return the pipeline of views: crops, flips and colours, blur where there are no colours."""
    crop = dict(
        type='RandomResizedCrop',
        scale=side,
        crop_ratio_range=(0.2, 1.0),
        interpolation='bilinear',
        backend='pillow',
    )
    colours = [
        dict(
            type='RandomApply',
            prob=0.8,
            transforms=[
                dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
            ],
        ),
        dict(
            type='RandomGrayscale',
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.299),
        ),
    ]
    blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5)
    change = colours if photos.color_type == 'color' else [blur]
    view = [crop, *change, dict(type='RandomFlip', prob=0.5)]
    return [dict(type='MultiView', num_views=[count], transforms=[view])]


def measuring(base: Config, photos: Photos, chosen: Settings, out: Path) -> dict[str, Any]:
    """Return hooks and labelled data.

    The monitor measures every 100 steps, and ten times in a run of fewer than 1,000; kNN is
    measured five times, if there are classes.
    """
    own = [dict(hook) for hook in base.custom_hooks if hook.type != 'KNNHook']
    interval = min(100, max(1, steps_of(photos, chosen) // 10))
    monitor = dict(type='EntropyMonitorHook', interval=interval)
    hooks = [*own, dict(type='ChannelsLastHook'), monitor]
    if not chosen.held_out:
        return dict(custom_hooks=hooks, eval_datasets=None)
    pipeline = [
        dict(type='CheckedLoadImageFromFile', color_type=photos.color_type),
        dict(type='CentralSquare', side=chosen.side),
        dict(type='PackInputs'),
    ]
    sets = {
        part: dict(
            _delete_=True,
            type='ClassFolders',
            data_root=photos.folder,
            ann_file=str(out / f'{name}.txt'),
            metainfo=dict(classes=photos.classes),
            on_unreadable='skip',
            pipeline=pipeline,
        )
        for part, name in dict(train='train_labels', test='held_out_labels').items()
    }
    knn = dict(type='KNNHook', interval=max(1, (chosen.epochs or 1) // 5), k=NEIGHBOURS)
    return dict(custom_hooks=[*hooks, knn], eval_datasets=sets)
