"""Saving that survives a full disk, and finding what was saved."""

import logging
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import all_reduce_params, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from mmentropy.distributed import unwrapped
from mmentropy.engine.hooks.non_finite import has_stepped
from mmentropy.weights.checksum import check_file
from mmentropy.weights.files import PART
from mmentropy.weights.reader import read_checkpoint

# Name of what is saved on a signal.
INTERRUPTED = 'interrupted'
# Of what was accumulated, in a checkpoint.
GRADIENTS = 'gradients'
_STATE = ('keep_ckpt_ids', 'last_ckpt', 'best_ckpt_path', 'best_ckpt_path_dict')


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, whose checkpoints are whole or absent.

    A checkpoint is written aside and renamed (:mod:`mmentropy.weights.files`);
    only then older ones are removed. If it cannot be written, that is
    logged as an error, training goes on, the older ones stay, and the next
    save is tried as usual. The same holds for the visualizer's files. Between
    two iterations that share a step, the gradient is averaged over ranks and
    saved, too.

    Args:
        kwargs: Of ``CheckpointHook``. ``backend_args`` other than the default
            write as their backend does.
    """

    # mmengine sets them without a type.
    backend_args: dict | None
    keep_ckpt_ids: deque

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (
            self.backend_args is None
            and self.file_client_args is None
            and '://' not in str(self.out_dir)
        ):
            self.backend_args = dict(backend='whole')
        self._gradients: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            for part in Path(self.out_dir).glob(f'*.pth{PART}'):
                part.unlink()
        if runner.iter > 0:
            named = dict(unwrapped(runner.model).named_parameters())
            for name, gradient in self._gradients.items():
                named[name].grad = gradient.to(named[name])
        self._gradients = {}
        for backend in runner.visualizer._vis_backends.values():
            for name in ('add_scalar', 'add_scalars'):
                write = forgiving(getattr(backend, name), Path(backend._save_dir), runner)
                setattr(backend, name, write)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'] = plain(checkpoint['meta'])
        if 'optimizer' in checkpoint and not has_stepped(runner.optim_wrapper):
            checkpoint[GRADIENTS] = {
                name: p.grad.cpu()
                for name, p in unwrapped(runner.model).named_parameters()
                if p.grad is not None
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._gradients = checkpoint.get(GRADIENTS, {})

    def save_now(self, runner: Runner) -> str | None:
        """Save in the middle of an epoch, after an iteration.

        Returns:
            The name of ``interrupted_{n}.pth``, which the next checkpoint
            replaces; None if it could not be written.
        """
        name = f'{INTERRUPTED}_{runner.iter + 1}.pth'
        written = None
        with self.or_go_on(runner, name):
            self._save(runner, name, dict(epoch=runner.epoch, iter=runner.iter + 1))
            written = name
        return written

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        outdated: list[int] = []
        with self.or_go_on(runner, name):
            if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
                ids = [*self.keep_ckpt_ids, step]
                outdated = ids[: -self.max_keep_ckpts]
                self.keep_ckpt_ids = deque(ids[-self.max_keep_ckpts :])
                runner.message_hub.update_info('keep_ckpt_ids', [*self.keep_ckpt_ids])
            self._save(runner, name, meta)
            for old in outdated:
                self._remove(self.filename_tmpl.format(old))

    def _save(self, runner: Runner, name: str, meta: dict) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        if not has_stepped(runner.optim_wrapper):
            # One file serves all ranks. Their mean is what steps in the end.
            all_reduce_params(
                [p.grad for p in runner.model.parameters() if p.grad is not None], op='mean'
            )
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            self.file_backend.put_text(
                self.last_ckpt, self.file_backend.join_path(runner.work_dir, 'last_checkpoint')
            )
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
        own = {key: copy(getattr(self, key)) for key in _STATE if hasattr(self, key)}
        try:
            yield
        except OSError as error:
            runner.logger.error(
                f'{name} was not saved to {self.out_dir}: {error}. Training '
                'goes on, older checkpoints stay, and the next save is tried '
                'as usual: make room or give back the folder'
            )
            info.clear()
            info.update(before)
            for key, value in own.items():
                setattr(self, key, value)


def forgiving(write: Callable[..., None], folder: Path, runner: Runner) -> Callable[..., None]:
    """``write`` into a folder, whose failures are logged, each kind once."""
    reported: set[str] = set()

    def try_to_write(*args: Any, **kwargs: Any) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(*args, **kwargs)
        except OSError as error:
            if str(error) not in reported:
                reported.add(str(error))
                runner.logger.error(f'scalars were not written: {error}; training goes on')

    return try_to_write


def plain(value: Any) -> Any:
    """With dicts and texts for mmengine's dicts and paths."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return str(value) if isinstance(value, Path) else value


def choose_checkpoint(cfg: Config, otherwise: str | None = None) -> None:
    """Set ``load_from`` of a config that resumes to a checkpoint that is good.

    Args:
        cfg: If it resumes and has no ``load_from``, the checkpoint is looked
            for.
        otherwise: Weights to begin with if there is none.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError: the one that is named
            is absent or damaged, or none in the work directory can be read.
    """
    folder = folder_of(cfg)
    if not cfg.get('load_from') and cfg.get('resume') and folder is not None:
        hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        last = Path(cfg.work_dir, 'last_checkpoint')
        path = newest_checkpoint(
            folder,
            hook.get('filename_tmpl') or '',
            Path(last.read_text().strip()).name if last.is_file() else '',
        )
        if path is None:
            print_log(
                f'no checkpoint in {folder}: training begins anew'
                + (f', from {otherwise}' if otherwise else ''),
                logger='current',
            )
            cfg.resume = False
            cfg.load_from = otherwise
        else:
            cfg.load_from = str(path)
    if cfg.get('load_from') and '://' not in cfg.load_from:
        cfg.load_from = os.path.expanduser(cfg.load_from)
        check_file(cfg.load_from)


def folder_of(cfg: Config) -> Path | None:
    """Where the CheckpointHook saves; None if mmengine has to look there."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = hook.get('out_dir')
    # As mmengine does.
    if out_dir is None or out_dir == os.path.abspath(cfg.work_dir):
        return Path(cfg.work_dir)
    if '://' in str(out_dir):
        return None
    return Path(out_dir, Path(cfg.work_dir).name)


def newest_checkpoint(folder: str | Path, template: str = '', last: str = '') -> Path | None:
    """The newest checkpoint of a run that is as it was written.

    Args:
        folder: With ``epoch_{n}.pth``, ``iter_{n}.pth`` and
            ``interrupted_{n}.pth``.
        template: Of other names, with {} for the number.
        last: The name of the last that was saved, which is taken if it is
            good. Without it, those of more iterations, which an earlier
            attempt may have left, are newer.

    Returns:
        None if there is none at all. Each one that cannot be read is reported
        by a warning.

    Raises:
        ValueError: none of them can be read.
    """
    folder = Path(folder)
    found, bad = [], {}
    named = [folder / last] if last and (folder / last).is_file() else []
    templates = [f'{kind}_{{}}.pth' for kind in ('epoch', 'iter', INTERRUPTED)]
    for paths in (
        named,
        *(_by_number(folder, text) for text in dict.fromkeys([template, *templates]) if text),
    ):
        for path in paths:
            if path in bad:
                continue
            try:
                meta = read_checkpoint(path).get('meta') or {}
            except (OSError, ValueError) as error:
                bad[path] = error
                print_log(
                    f'{error}; an older one is looked for', logger='current', level=logging.WARNING
                )
                continue
            if paths is named:
                return path
            found.append((meta.get('iter', -math.inf), path))
            break
    if bad and not found:
        raise ValueError(
            f'none of the {len(bad)} checkpoints in {folder} can be read, see '
            'above: name another one, --resume PATH, or begin anew in another '
            '--work-dir'
        )
    return max(found)[1] if found else None


def _by_number(folder: Path, template: str) -> list[Path]:
    """Newest first."""
    before, _, after = template.partition('{}')
    numbers = {}
    for path in folder.glob('*'):
        match = re.fullmatch(rf'{re.escape(before)}(\d+){re.escape(after)}', path.name)
        if match:
            numbers[path] = int(match[1])
    return sorted(numbers, key=numbers.__getitem__, reverse=True)
