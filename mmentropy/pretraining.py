"""Pre-training on any folder of images, with settings chosen by the rules in this file.

:func:`look` reads some of the images, the functions ``choose_*`` are the rules, :func:`changes`
says in which values the run differs from a recipe of the package, and :func:`pretrain` runs it.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath
from statistics import median
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmentropy.checks.arguments import COUNT, INDEX, PATH, POSITIVE, one_of, or_none, require
from mmentropy.checks.config import nearest_name
from mmentropy.datasets import ImageFolder
from mmentropy.datasets.image_folder import EXTENSIONS
from mmentropy.engine.train_loop import use_train_loop
from mmentropy.engine.trial_run import run_trial
from mmentropy.evaluation.embed_folder import embed_checkpoint
from mmentropy.evaluation.protocols import evaluate_checkpoint
from mmentropy.report import measured_runs, read_runs, report_html
from mmentropy.views.loading import CheckedLoadImageFromFile
from mmentropy.views.statistics import channel_statistics
from mmentropy.weights.export import export_backbone

CONFIGS = Path(__file__).parent / '.mim' / 'configs'
RECIPE = '_r18s_1xb64_50e_digits'
# A backbone, and the width of its features. The narrow one is that of the recipe.
BACKBONES: dict[str, tuple[dict[str, Any], int]] = dict(
    resnet18s=({}, 128),
    resnet18=(dict(_delete_=True, type='ResNet', depth=18, zero_init_residual=False), 512),
    resnet34=(dict(_delete_=True, type='ResNet', depth=34, zero_init_residual=False), 512),
    resnet50=(dict(_delete_=True, type='ResNet', depth=50), 2048),
)
SIDES = (32, 64, 96, 128, 160, 224)
SPLITS = {'train', 'training', 'val', 'valid', 'validation', 'test', 'testing', 'unlabeled'}
# The images that are looked at, evenly spaced in the folder.
LOOKED_AT = 300
FEWEST_IMAGES = 8
MOST_EPOCHS = 300
# The neighbours of kNN. Fewer images are no bank for it.
NEIGHBOURS = 20
MOST_HELD_OUT = 2000
# The lines of the log with one of these are printed.
SHOWN = ('Epoch(', 'kNN', 'WARNING', 'ERROR', 'collaps')


class Photos(NamedTuple):
    """What is known of a folder of images.

    ``files`` are paths below ``folder``; ``classes`` are the folders that hold all of them, empty
    if they are not one folder for each class. ``color_type`` is that of the loader; ``mean`` and
    ``std`` are in the units of the files, RGB for colours. ``side`` is the median of the shorter
    sides in pixels.
    """

    folder: str
    files: list[str]
    classes: tuple[str, ...]
    color_type: str
    depth: str
    side: int
    sides: tuple[int, int]
    mean: list[float]
    std: list[float]


class Machine(NamedTuple):
    """What a run may use: cores, whether there is a GPU, and whether bfloat16 is fast."""

    cores: int
    gpu: bool
    bfloat16: bool


@dataclass
class Settings:
    """What was chosen. ``epochs`` is None until the time of a step is known."""

    method: str
    backbone: str
    side: int
    batch: int
    workers: int
    bfloat16: bool
    epochs: int | None
    held_out: list[str]


class Pretrained(NamedTuple):
    """What :func:`pretrain` leaves: files, kNN in percent by row, and lines that load the backbone.

    ``scores`` is empty without class folders; its rows are 'checkpoint' and 'random'.
    """

    config: Path
    checkpoint: Path
    embeddings: Path
    report: Path
    scores: dict[str, dict[str, float]]
    load: dict[str, str]


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


def this_machine() -> Machine:
    """Return what this process may use."""
    gpu = torch.cuda.is_available()
    flags = Path('/proc/cpuinfo')
    fast = flags.exists() and 'avx512_bf16' in flags.read_text()
    return Machine(
        len(os.sched_getaffinity(0)), gpu, torch.cuda.is_bf16_supported() if gpu else fast
    )


def look(folder: str) -> Photos:
    """Read some images of a folder, evenly spaced.

    Images of 8 bits and one to four channels are read as colours, and so is a mixture. Others, such
    as 16 bits or several bands, keep their channels and depth if all are alike.

    Raises:
        FileNotFoundError: there is no folder, or no image in it.
        ValueError: there are too few to compare, or more than 1 % (and five) of those looked at
            cannot be read; one line.
    """
    if not os.path.isdir(os.path.expanduser(folder)):
        raise FileNotFoundError(f'no folder {folder} of images')
    try:
        dataset = ImageFolder(folder)
    except FileNotFoundError:
        endings = ' '.join(sorted(EXTENSIONS))
        raise FileNotFoundError(f'no images in {folder} and below: looked for {endings}') from None
    root = os.path.abspath(os.path.expanduser(folder))
    paths = [dataset.get_data_info(row)['img_path'] for row in range(len(dataset))]
    if len(paths) < FEWEST_IMAGES:
        raise ValueError(
            f'{len(paths)} images in {folder}: the methods compare the images of a batch, and need '
            f'{FEWEST_IMAGES} at least; a trained backbone embeds a few: mmentropy embed'
        )
    some = paths[:: -(-len(paths) // LOOKED_AT)]
    kinds, sides = Counter[tuple[int, str]](), []
    load = CheckedLoadImageFromFile(color_type='unchanged')
    for path in some:
        try:
            img = load.transform(dict(img_path=path))['img']
        except OSError:
            # Some are read as colours only, such as palettes; statistics count the unreadable.
            continue
        sides.append(min(img.shape[:2]))
        kinds[img.shape[2] if img.ndim > 2 else 1, img.dtype.name] += 1
    color_type = choose_color_type(kinds)
    found = channel_statistics(some, CheckedLoadImageFromFile(color_type=color_type))
    bad = len(found.unreadable)
    if bad > max(5, len(some) / 100):
        raise ValueError(f'{bad} of {len(some)} images cannot be read: {found.unreadable[0]}')
    order = -1 if color_type == 'color' else 1
    mean, std = ([round(float(v), 3) for v in values[::order]] for values in found[3:5])
    files = [os.path.relpath(path, root) for path in paths]
    side = round(median(sides)) if sides else found.sides[0]
    classes = choose_classes(files)
    return Photos(root, files, classes, color_type, found.depth, side, found.sides, mean, std)


def choose_color_type(kinds: Counter[tuple[int, str]]) -> str:
    """Return how images of these channels and depths are loaded, see :func:`look`."""
    if len(kinds) == 1:
        ((channels, depth),) = kinds
        return 'color' if depth == 'uint8' and channels <= 4 else 'unchanged'
    return 'color'


def choose_classes(files: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of classes: two or more that hold all images, and are no splits."""
    parts = [PurePath(file).parts for file in files]
    folders = {first for first, *rest in parts if rest}
    split = {name.lower() for name in folders} <= SPLITS
    if len(folders) < 2 or split or any(len(part) < 2 for part in parts):
        return ()
    return tuple(sorted(folders))


def choose_held_out(files: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return files to measure on: every tenth image of each class, 2,000 in all at most.

    There are none without classes, or if fewer than 20 images would be left as neighbours.
    """
    step = max(10, -(-len(files) // MOST_HELD_OUT))
    held = []
    for name in classes:
        own = [file for file in files if PurePath(file).parts[0] == name]
        held += own[step // 2 :: step]
    return held if len(files) - len(held) >= NEIGHBOURS else []


def choose_side(side: int, gpu: bool) -> int:
    """Return the side of the views in pixels.

    It is the largest of 32, 64, 96, 128, 160 and 224 that is not above the median of the shorter
    sides; without a GPU 64 at most.
    """
    most = 224 if gpu else 64
    return max((known for known in SIDES if known <= min(side, most)), default=SIDES[0])


def choose_batch(images: int, gpu: bool) -> int:
    """Return the batch: 64, on a GPU 256, but a power of two and half of the images at most."""
    most = min(256 if gpu else 64, images // 2)
    return 1 << (most.bit_length() - 1)


def choose_epochs(images: int, batch: int, seconds: float, minutes: float) -> int:
    """Return the epochs that fit a time, 1 to 300, with a tenth of it left for measuring.

    Args:
        images: that are trained on.
        batch: of one iteration; the last of an epoch is left out if it is not whole.
        seconds: that an iteration takes.
        minutes: that training may take.
    """
    fitting = int(0.9 * 60 * minutes / (seconds * (images // batch)))
    return min(max(fitting, 1), MOST_EPOCHS)


def choose_lr(optimizer: dict, batch: int) -> float:
    """Return a recipe's learning rate at 64 images for another batch.

    It follows the batch for SGD, and its square root for the others, which normalise gradients.
    """
    ratio = batch / 64
    power = 1.0 if optimizer['type'] == 'SGD' else 0.5
    return float(f'{optimizer["lr"] * ratio**power:.3g}')


def choose(
    photos: Photos, machine: Machine, method: str, backbone: str | None, epochs: int | None
) -> Settings:
    """Return all settings; the rules are those of the functions above.

    The backbone is 'resnet18', or 'resnet18s', a narrow one of three stages, without a GPU. On a
    GPU there are up to eight loader processes; without one there is one for each core but one.
    """
    held_out = choose_held_out(photos.files, photos.classes)
    gpu = machine.gpu
    return Settings(
        method=method,
        backbone=backbone or ('resnet18' if gpu else 'resnet18s'),
        side=choose_side(photos.side, gpu),
        batch=choose_batch(len(photos.files) - len(held_out), gpu),
        workers=min(8, machine.cores - 1),
        bfloat16=machine.bfloat16,
        epochs=epochs,
        held_out=held_out,
    )


def views(photos: Photos, side: int, count: int) -> list[dict]:
    """Return the pipeline of views: crops, flips and colours, blur where there are no colours."""
    crop = dict(
        type='RandomResizedCrop',
        scale=side,
        crop_ratio_range=(0.2, 1.0),
        interpolation='bilinear',
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


def changes(base: Config, photos: Photos, chosen: Settings, out: Path, seed: int) -> dict[str, Any]:
    """Return in which values a run differs from the recipe of its method.

    Args:
        base: the recipe.
        photos: what is known of the images.
        chosen: with ``epochs``.
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


def schedule(epochs: int) -> list[dict]:
    """Return a warm-up of a tenth of the epochs, from 10 of them on, and a cosine."""
    warmup = epochs // 10
    cosine = dict(type='CosineAnnealingLR', begin=warmup, convert_to_iter_based=True)
    linear = dict(type='LinearLR', start_factor=0.01, end=warmup, convert_to_iter_based=True)
    return [linear, cosine] if warmup else [cosine]


def measuring(base: Config, photos: Photos, chosen: Settings, out: Path) -> dict[str, Any]:
    """Return hooks and labelled data: kNN five times in a run, if there are classes."""
    own = [dict(hook) for hook in base.custom_hooks if hook.type != 'KNNHook']
    hooks = [*own, dict(type='ChannelsLastHook'), dict(type='EntropyMonitorHook', interval=100)]
    if not chosen.held_out:
        return dict(custom_hooks=hooks, eval_datasets=None)
    pipeline = [
        dict(type='CheckedLoadImageFromFile', color_type=photos.color_type),
        dict(type='ResizeEdge', scale=chosen.side),
        dict(type='CenterCrop', crop_size=chosen.side),
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
    interval = max(1, (chosen.epochs or 1) // 5)
    knn = dict(type='KNNHook', interval=interval, k=NEIGHBOURS)
    return dict(custom_hooks=[*hooks, knn], eval_datasets=sets)


def write_lists(photos: Photos, held_out: Sequence[str], out: Path) -> None:
    """Write the files that are trained on and those that are held out, with their classes."""
    held = {*held_out}
    train = [file for file in photos.files if file not in held]
    (out / 'train_files.txt').write_text('\n'.join(train) + '\n')
    labels = {name: label for label, name in enumerate(photos.classes)}
    for name, files in dict(train=train, held_out=held_out).items():
        lines = [f'{file} {labels[PurePath(file).parts[0]]}\n' for file in files]
        (out / f'{name}_labels.txt').write_text(''.join(lines))


def write_config(path: Path, recipe: str, photos: Photos, chosen: Settings, seed: int) -> None:
    """Write a run's config, which inherits a recipe of the package, and its lists of files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if chosen.held_out:
        write_lists(photos, chosen.held_out, path.parent)
    values = changes(Config.fromfile(CONFIGS / recipe), photos, chosen, path.parent, seed)
    title = f'"""Pre-training on {len(photos.files):,} images, as `mmentropy pretrain` chose it."""'
    text = f"{title}\n\n_base_ = 'mmentropy::{recipe}'\n{Config(values).pretty_text}"
    path.write_text(text)


def seconds_of_iteration(path: Path) -> float:
    """Return what an iteration of a config takes, of a few that are tried; nothing is kept."""
    cfg = Config.fromfile(path)
    cfg.log_level = 'WARNING'
    measuring_hooks = ('KNNHook', 'EntropyMonitorHook')
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type not in measuring_hooks]
    cfg.train_dataloader.persistent_workers = False
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        # A run of the same name in the same second would share its visualizer and folder.
        cfg.experiment_name = Path(cfg.work_dir).name
        runner = Runner.from_cfg(cfg)
        use_train_loop(runner)
        trial = run_trial(runner)
    return trial.seconds(cfg.train_dataloader.num_workers)[2]


def plan(photos: Photos, chosen: Settings, seconds: float) -> list[str]:
    """Return what was found and chosen, in lines."""
    count = len(photos.files) - len(chosen.held_out)
    least, most = photos.sides
    steps = (chosen.epochs or 1) * (count // chosen.batch)
    held = f'{len(chosen.held_out):,} of them held out for kNN' if chosen.held_out else 'no kNN'
    classes = f'{len(photos.classes)} class folders' if photos.classes else 'no class folders'
    kind = f'{len(photos.mean)} channels of {photos.depth}'
    time = timedelta(seconds=round(seconds * steps))
    return [
        f'images: {len(photos.files):,}, sides of {least} to {most} pixels, '
        f'loaded as {kind}, {classes}, {held}',
        f'network: {chosen.method} with {chosen.backbone}, views of {chosen.side} x {chosen.side}',
        f'training: {chosen.epochs} epochs = {steps:,} steps of batch {chosen.batch}, '
        f'{"bfloat16" if chosen.bfloat16 else "float32"}, {chosen.workers} loader processes',
        f'time: {seconds:.3g} s a step, about {time} without measuring',
    ]


def train(config: Path, work_dir: Path) -> Path:
    """Train a config as ``mmentropy train`` does, in a process of its own; return the checkpoint.

    The log is in ``work_dir``; the lines of epochs, of kNN and warnings are printed.

    Raises:
        RuntimeError: training has ended with an error, or was interrupted.
    """
    command = ['train', str(config), '--work-dir', str(work_dir)]
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmentropy', *command], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if any(word in line for word in SHOWN):
                print(line, end='', flush=True)
    finally:
        # Training saves when it is interrupted, as this process is then too.
        status = process.wait()
    if status:
        raise RuntimeError(
            f'training has ended with status {status}; it goes on with: '
            f'mmentropy {" ".join(command)} --resume'
        )
    return Path((work_dir / 'last_checkpoint').read_text())


def load_lines(checkpoint: Path, out: Path) -> dict[str, str]:
    """Write the backbone for timm and torchvision; return the line that loads it in each library.

    Where a library has no such network, the line says why.
    """
    entry = f"dict(type='PretrainedBackbone', checkpoint={str(checkpoint)!r})"
    lines = dict(mmdet=f'model = dict(backbone=dict(init_cfg={entry}))')
    for target in ('timm', 'torchvision'):
        try:
            file = out / f'backbone_{target}.pth'
            lines[target] = export_backbone(checkpoint, target, file)
        except ValueError:
            lines[target] = (
                f'{target} has no such network; train one that it has, on images of three '
                'channels: --backbone resnet18, resnet34 or resnet50'
            )
    return lines


def pretrain(
    photos: str | os.PathLike,
    method: str = 'mec',
    backbone: str | None = None,
    epochs: int | None = None,
    out: str | os.PathLike | None = None,
    minutes: float = 5.0,
    seed: int = 0,
    dry_run: bool = False,
) -> Pretrained | None:
    """Pre-train a backbone on a folder of images, measure it and embed them.

    What was chosen is printed, and written as a config that inherits from a recipe of the package
    to ``out/config.py``. Images in one folder for each class are measured by kNN.

    Args:
        photos: a folder of images, flat or nested.
        method: the objective, 'mec', 'er', 'vicreg' or another; the error of a wrong name has all.
        backbone: 'resnet18s', a narrow ResNet-18 of three stages, 'resnet18', 'resnet34' or
            'resnet50'; default: 'resnet18' on a GPU and 'resnet18s' without.
        epochs: length of training; default: as many as fit into ``minutes``.
        out: folder of all that is written; default: ``work_dirs/pretrain/NAME OF THE FOLDER``.
        minutes: how long training may take where ``epochs`` are not given.
        seed: seed of weights, views and order of images.
        dry_run: write the config, and do not train.

    Returns:
        Files, kNN accuracies, and lines that load the backbone; None after a dry run.

    Raises:
        FileNotFoundError, ValueError: an argument is wrong, ``out`` has a run already, or the
            images cannot be trained on, see :func:`look`; one line.
        RuntimeError: training has ended with an error.
    """
    require(PATH, photos=photos)
    require(or_none(one_of(BACKBONES)), backbone=backbone)
    require(or_none(COUNT), epochs=epochs)
    require(POSITIVE, minutes=minutes)
    require(INDEX, seed=seed)
    recipe = recipe_of(method)
    out = Path(out or Path('work_dirs', 'pretrain', Path(photos).resolve().name)).absolute()
    config, run = out / 'config.py', out / 'run'
    if run.exists():
        raise ValueError(
            f'{out} has a run already: go on with mmentropy train {config} --work-dir {run} '
            '--resume, or choose another folder by --out'
        )
    found = look(os.fspath(photos))
    chosen = choose(found, this_machine(), method, backbone, epochs)
    write_config(config, recipe, found, chosen, seed)
    seconds = seconds_of_iteration(config)
    if epochs is None:
        count = len(found.files) - len(chosen.held_out)
        chosen.epochs = choose_epochs(count, chosen.batch, seconds, minutes)
        write_config(config, recipe, found, chosen, seed)
    print('\n'.join([*plan(found, chosen, seconds), f'config: {config}']), flush=True)
    if dry_run:
        return None
    return finish(found, config, train(config, run), bool(chosen.held_out))


def finish(photos: Photos, config: Path, checkpoint: Path, labelled: bool) -> Pretrained:
    """Measure, embed and report a run that has trained, and print where everything is."""
    out = config.parent
    scores = evaluate_checkpoint(checkpoint, protocols=['knn'], random=True) if labelled else {}
    embeddings, report = out / 'embeddings.npz', out / 'report.html'
    embed_checkpoint(checkpoint, photos.folder, embeddings, thumbnails=32)
    runs = read_runs([checkpoint.parent])
    report.write_text(report_html(runs, measured_runs(runs)), encoding='utf-8')
    lines = load_lines(checkpoint, out)
    print(f'\ncheckpoint: {checkpoint}\nembeddings: {embeddings}\nreport: {report}')
    for row, score in scores.items():
        print(f'kNN of held-out images, {row}: {score["knn"]:.2f} %')
    for library, line in lines.items():
        print(f'{library}: {line}')
    return Pretrained(config, checkpoint, embeddings, report, scores, lines)
