"""Saving that survives a full disk, and finding what was saved."""

import logging
import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import check_file, read_checkpoint
from ..files import PART

# Name of what is saved on a signal.
INTERRUPTED = 'interrupted'
_STATE = ('keep_ckpt_ids', 'last_ckpt', 'best_ckpt_path',
          'best_ckpt_path_dict')


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, whose checkpoints are whole or absent.

    A checkpoint is written aside, sealed (:mod:`mmentropy.seal`) and
    renamed; only then older ones are removed. If it cannot be written, that is
    logged as an error, training goes on, the older ones stay, and the next
    save is tried as usual. The same holds for the visualizer's files.

    Args:
        kwargs: Of ``CheckpointHook``. ``backend_args`` other than the default
            write as their backend does.
    """

    # mmengine sets them without a type.
    backend_args: dict | None
    keep_ckpt_ids: deque

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and self.file_client_args is None and \
                '://' not in str(self.out_dir):
            self.backend_args = dict(backend='whole')

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            for part in Path(self.out_dir).glob(f'*.pth{PART}'):
                part.unlink()
        for backend in runner.visualizer._vis_backends.values():
            for name in ('add_scalar', 'add_scalars'):
                write = forgiving(
                    getattr(backend, name), Path(backend._save_dir), runner)
                setattr(backend, name, write)

    def save_now(self, runner: Runner) -> str | None:
        """Save in the middle of an epoch, after an iteration.

        Returns:
            The name of ``interrupted_{n}.pth``, which the next checkpoint
            replaces; None if it could not be written.
        """
        name = f'{INTERRUPTED}_{runner.iter + 1}.pth'
        written = None
        with self.or_go_on(runner, name):
            self._save(runner, name,
                       dict(epoch=runner.epoch, iter=runner.iter + 1))
            written = name
        return written

    def _save_checkpoint_with_step(self, runner: Runner, step: int,
                                   meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        outdated: list[int] = []
        with self.or_go_on(runner, name):
            if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
                ids = [*self.keep_ckpt_ids, step]
                outdated = ids[:-self.max_keep_ckpts]
                self.keep_ckpt_ids = deque(ids[-self.max_keep_ckpts:])
                runner.message_hub.update_info('keep_ckpt_ids',
                                               [*self.keep_ckpt_ids])
            self._save(runner, name, meta)
            for old in outdated:
                self._remove(self.filename_tmpl.format(old))

    def _save(self, runner: Runner, name: str, meta: dict) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            backend_args=self.backend_args,
            **self.args)
        if is_main_process():
            self.file_backend.put_text(
                self.last_ckpt,
                self.file_backend.join_path(runner.work_dir,
                                            'last_checkpoint'))
            for path in Path(self.out_dir).glob(f'{INTERRUPTED}_*.pth'):
                if path.name != name:
                    path.unlink()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        removals: list = []
        remove = self.file_backend.remove
        self.file_backend.remove = removals.append
        try:
            with self.or_go_on(runner, 'the best checkpoint'):
                super()._save_best_checkpoint(runner, metrics)
                for path in removals:
                    remove(path)
        finally:
            del self.file_backend.remove

    def _remove(self, name: str) -> None:
        path = self.file_backend.join_path(self.out_dir, name)
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    @contextmanager
    def or_go_on(self, runner: Runner, name: str) -> Iterator[None]:
        """Report what could not be written, and forget that it was tried."""
        info = runner.message_hub.runtime_info
        before = dict(info)
        own = {
            key: copy(getattr(self, key))
            for key in _STATE if hasattr(self, key)
        }
        try:
            yield
        except OSError as error:
            runner.logger.error(
                f'{name} was not saved to {self.out_dir}: {error}. Training '
                'goes on, older checkpoints stay, and the next save is tried '
                'as usual: make room or give back the folder')
            info.clear()
            info.update(before)
            for key, value in own.items():
                setattr(self, key, value)


def forgiving(write: Callable[..., None], folder: Path,
              runner: Runner) -> Callable[..., None]:
    """``write`` into a folder, whose failures are logged, each kind once."""
    reported: set[str] = set()

    def try_to_write(*args: Any, **kwargs: Any) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(*args, **kwargs)
        except OSError as error:
            if str(error) not in reported:
                reported.add(str(error))
                runner.logger.error(
                    f'scalars were not written: {error}; training goes on')

    return try_to_write


def choose_checkpoint(cfg: Config) -> None:
    """Set ``load_from`` of a config that resumes to a checkpoint that is good.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: the one that is named
            is absent or damaged, or all in the work directory are.
    """
    if cfg.get('load_from'):
        if '://' not in cfg.load_from:
            check_file(cfg.load_from)
        return
    if not cfg.get('resume'):
        return
    folder = folder_of(cfg)
    if folder is None:
        return
    path = newest_checkpoint(folder)
    if path is None:
        print_log(f'no checkpoint in {folder}: training begins anew',
                  logger='current')
        cfg.resume = False
    else:
        cfg.load_from = str(path)


def folder_of(cfg: Config) -> Path | None:
    """Where the CheckpointHook saves; None if mmengine has to look there."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = hook.get('out_dir')
    if out_dir is None:
        return Path(cfg.work_dir)
    if '://' in str(out_dir):
        return None
    # As mmengine does.
    return Path(out_dir, Path(cfg.work_dir).name)


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint of a run that is as it was written.

    ``epoch_{n}.pth``, ``iter_{n}.pth`` and ``interrupted_{n}.pth``, judged by
    their iterations. Each one that is damaged is reported by a warning.

    Returns:
        None if there is none at all.

    Raises:
        ValueError: all of them are damaged.
    """
    found, damaged = [], 0
    for kind in ('epoch', 'iter', INTERRUPTED):
        for path in _by_number(Path(folder), kind):
            try:
                meta = read_checkpoint(path).get('meta') or {}
                found.append((meta.get('iter', -math.inf), path))
                break
            except (OSError, ValueError) as error:
                damaged += 1
                print_log(
                    f'{error}; an older one is looked for',
                    logger='current',
                    level=logging.WARNING)
    if damaged and not found:
        raise ValueError(
            f'all {damaged} checkpoints in {folder} are damaged: remove them '
            'to start anew, or name another one, --resume PATH')
    return max(found)[1] if found else None


def _by_number(folder: Path, kind: str) -> list[Path]:
    """Newest first."""
    numbers = {}
    for path in folder.glob(f'{kind}_*.pth'):
        match = re.fullmatch(rf'{kind}_(\d+)', path.stem)
        if match:
            numbers[path] = int(match[1])
    return sorted(numbers, key=numbers.__getitem__, reverse=True)
