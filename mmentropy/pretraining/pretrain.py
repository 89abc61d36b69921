"""The command ``pretrain`` as a function: choose settings, train, measure, embed and report."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmentropy.checks.arguments import COUNT, PATH, POSITIVE, SEED, one_of, or_none, require
from mmentropy.engine.train_loop import use_train_loop
from mmentropy.engine.trial_run import run_trial
from mmentropy.evaluation.embed_folder import embed_checkpoint
from mmentropy.evaluation.protocols import evaluate_checkpoint
from mmentropy.evaluation.scored import NoScoreError
from mmentropy.pretraining.config import BACKBONES, recipe_of, write_config
from mmentropy.pretraining.photos import Photos, look
from mmentropy.pretraining.rules import choose_epochs
from mmentropy.pretraining.settings import Settings, choose, plan, this_machine
from mmentropy.report import measured_runs, read_runs, report_html, write_page
from mmentropy.weights.export import export_backbone

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
GO_ON = '--resume, with PHOTOS and --out alone, goes on'
# The lines of the log with one of these are printed.
SHOWN = ('Epoch(', 'kNN', 'WARNING', 'ERROR', 'collaps')


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


def pretrain(
    photos: str | os.PathLike,
    method: str | None = None,
    backbone: str | None = None,
    epochs: int | None = None,
    out: str | os.PathLike | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    dry_run: bool = False,
    resume: bool = False,
) -> Pretrained | None:
    """Pre-train a backbone on a folder of images, measure it and embed them.

    What was chosen is printed, and written as a config that inherits from a recipe of the package
    to ``out/config.py``. Images in one folder for each class are measured by kNN.

    Args:
        photos: a folder of images, flat or nested.
        method: the objective, default: 'mec'; the error of a wrong name has all, 'er' and others.
        backbone: 'resnet18s', a narrow ResNet-18 of three stages, 'resnet18', 'resnet34' or
            'resnet50'; default: 'resnet18' on a GPU and 'resnet18s' without.
        epochs: length of training; default: as many as fit into ``minutes``.
        out: folder of all that is written; default: ``work_dirs/pretrain/NAME OF THE FOLDER``.
        minutes: how long training may take where ``epochs`` are not given; default: 5.
        seed: seed of weights, views and order of images; default: 0.
        dry_run: write the config, and do not train; with ``resume`` it is trained later.
        resume: go on with the run in ``out`` by the config that is there, of the same ``photos``;
            what else may be given is in that config, and refused here.

    Returns:
        Files, kNN accuracies, and lines that load the backbone; None after a dry run.

    Raises:
        FileNotFoundError, ValueError: an argument is wrong, ``out`` has a run already, or the
            images cannot be trained on, see :func:`look`; one line.
        RuntimeError: training has ended with an error.
    """
    require(PATH, photos=photos)
    given = dict(method=method, backbone=backbone, epochs=epochs, minutes=minutes, seed=seed)
    require(or_none(one_of(BACKBONES)), backbone=backbone)
    require(or_none(COUNT), epochs=epochs)
    require(or_none(POSITIVE), minutes=minutes)
    require(or_none(SEED), seed=seed)
    # A wrong name is told before the images are looked at.
    chosen_method = 'mec' if method is None else method
    recipe_of(chosen_method)
    out = Path(out or Path('work_dirs', 'pretrain', Path(photos).resolve().name)).absolute()
    config, run = out / 'config.py', out / 'run'
    if resume:
        check_resumed(config, photos, dict(given, dry_run=dry_run or None))
        return finish(config, train(config, run, resume=run.exists()))
    if run.exists():
        raise ValueError(f'{out} has a run already: {GO_ON}, and --out names another folder')
    found = look(os.fspath(photos))
    chosen = choose(found, this_machine(), chosen_method, backbone, epochs)
    write_plan(config, found, chosen, minutes or 5.0, seed or 0)
    if dry_run:
        print('--resume trains by this config, also if you edit it')
        return None
    return finish(config, train(config, run))


def check_resumed(config: Path, photos: str | os.PathLike, given: dict[str, Any]) -> None:
    """Refuse to go on with a run that is not there, is of other images, or is to become another.

    Args:
        config: that of the run.
        photos: the folder of images.
        given: other arguments of :func:`pretrain`, None where they are not given.

    Raises:
        FileNotFoundError, ValueError: in one line.
    """
    if not config.exists():
        raise FileNotFoundError(f'{config.parent} has no run to go on with: leave --resume out')
    names = [f'--{name.replace("_", "-")}' for name, value in given.items() if value is not None]
    if names:
        raise ValueError(
            f'--resume goes on by {config}: leave {", ".join(names)} out, or edit the config'
        )
    folder = Config.fromfile(config).train_dataloader.dataset.data_root
    if not same_folder(folder, photos):
        raise ValueError(
            f'--resume goes on by {config}, whose images are in {folder} and not in '
            f'{os.fspath(photos)}: name that folder, or another --out'
        )


def same_folder(*folders: str | os.PathLike) -> bool:
    """Return whether paths lead to one folder."""
    return len({os.path.realpath(os.path.expanduser(folder)) for folder in folders}) == 1


def write_plan(config: Path, photos: Photos, chosen: Settings, minutes: float, seed: int) -> None:
    """Write the config of a run, choose its epochs if they are not, and print what was chosen.

    A config of an earlier ``dry_run``, which may have been edited, stays until the new one has been
    tried, and is kept where it differs.
    """
    recipe = recipe_of(chosen.method)
    new = config.with_name('config_new.py')
    try:
        write_config(new, recipe, photos, chosen, seed)
        seconds = seconds_of_iteration(new)
        if chosen.epochs is None:
            images = len(photos.files) - len(chosen.held_out)
            chosen.epochs = choose_epochs(images, chosen.batch, seconds, minutes)
            write_config(new, recipe, photos, chosen, seed)
        kept = keep_other(config, new.read_text())
        os.replace(new, config)
    finally:
        new.unlink(missing_ok=True)
    print('\n'.join([*plan(photos, chosen, seconds), f'config: {config}']), flush=True)
    if kept:
        print(f'the config that was there is {kept} now; --resume would have trained by it')


def keep_other(config: Path, text: str) -> Path | None:
    """Copy a config of another text to a name that is free; return it, or None without a copy."""
    if not config.exists() or config.read_text() == text:
        return None
    names = (f'config_before{number}.py' for number in chain([''], count(2)))
    kept = next(path for path in map(config.with_name, names) if not path.exists())
    kept.write_text(config.read_text())
    return kept


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
        # The logger of the trial writes into this folder, also what is said later.
        MMLogger._instance_dict.pop(runner.experiment_name, None)
    # The run is a process of its own, which needs the memory of the GPU.
    del runner
    gc.collect()
    torch.cuda.empty_cache()
    return trial.seconds(cfg.train_dataloader.num_workers)[2]


def train(config: Path, work_dir: Path, resume: bool = False) -> Path:
    """Train a config as ``mmentropy train`` does, in a process of its own; return the checkpoint.

    The log is in ``work_dir``; the lines of epochs, of kNN and warnings are printed. Signals that
    end this process end the training first, which saves.

    Raises:
        RuntimeError: training has ended with an error, or was interrupted.
    """
    command = ['train', str(config), '--work-dir', str(work_dir)]
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmentropy', *command, *(['--resume'] if resume else [])],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with passed_on(process):
        for line in process.stdout:
            if any(word in line for word in SHOWN):
                print(line, end='', flush=True)
        status = process.wait()
    if status:
        raise RuntimeError(f'training has ended with status {status}, see above; {GO_ON}')
    # It holds a whole path, and a run that has ended may have been moved.
    return work_dir / Path((work_dir / 'last_checkpoint').read_text().strip()).name


@contextmanager
def passed_on(process: subprocess.Popen) -> Iterator[None]:
    """Within this block let signals that would end this process end another one in its place.

    That one gets SIGTERM, since it may have had the SIGINT of a terminal already, of which a second
    one would interrupt it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish(config: Path, checkpoint: Path) -> Pretrained:
    """Measure, embed and report a run that has trained, and print where everything is."""
    out, cfg = config.parent, Config.fromfile(config)
    folder, workers = cfg.train_dataloader.dataset.data_root, cfg.train_dataloader.num_workers
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    scores = {}
    if cfg.eval_datasets:
        try:
            scores = evaluate_checkpoint(
                checkpoint, None, ['knn'], random=True, num_workers=workers, device=device
            )
        except NoScoreError as error:
            print(f'no kNN of held-out images: {error}')
    embeddings, report = out / 'embeddings.npz', out / 'report.html'
    embed_checkpoint(checkpoint, folder, embeddings, thumbnails=32, num_workers=workers)
    runs = read_runs([checkpoint.parent])
    write_page(report, report_html(runs, measured_runs(runs)))
    lines = load_lines(checkpoint, cfg, out)
    print(f'\ncheckpoint: {checkpoint}\nembeddings: {embeddings}\nreport: {report}')
    for row, score in scores.items():
        print(f'kNN of held-out images, {row}: {score["knn"]:.2f} %')
    for library, line in lines.items():
        print(f'{library}: {line}')
    return Pretrained(config, checkpoint, embeddings, report, scores, lines)


def load_lines(checkpoint: Path, cfg: Config, out: Path) -> dict[str, str]:
    """Write the backbone for timm and torchvision; return the line that loads it in each library.

    Where a library has no such network, the line says why.
    """
    images = cfg.data_preprocessor
    turned = bool(images.get('to_rgb'))
    preprocessor = dict(mean=images.mean, std=images.std, bgr_to_rgb=turned)
    backbone = cfg.model.backbone.to_dict()
    # A ResNet is that of the detector. mmdet has no network for small images.
    same = backbone['type'] == 'ResNet'
    network = dict(depth=backbone['depth']) if same else dict(backbone, _delete_=True)
    network |= {} if same else dict(type=f'mmpretrain.{backbone["type"]}')
    network['init_cfg'] = dict(type='PretrainedBackbone', checkpoint=str(checkpoint))
    model = dict(data_preprocessor=preprocessor, backbone=network)
    lines = dict(mmdet=f'model = {model}')
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
