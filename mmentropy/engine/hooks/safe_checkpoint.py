"""Checkpoints that survive a full disk."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, all_reduce_params, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from mmentropy.compat.mmengine_visualizer import forgive_failed_writes
from mmentropy.distributed import local, shared_as, unwrapped, whole
from mmentropy.engine.checkpoint_room import require_room
from mmentropy.engine.resume import INTERRUPTED
from mmentropy.engine.train_loop import has_stepped
from mmentropy.weights.files import PART

# The key in a checkpoint of the gradients that were accumulated for the next step.
GRADIENTS = 'gradients'
# The attributes of mmengine's hook that say what was saved.
SAVED = ('keep_ckpt_ids', 'last_ckpt', 'best_ckpt_path', 'best_ckpt_path_dict')


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, whose checkpoints are whole or absent.

    A checkpoint is written aside and renamed (:mod:`mmentropy.weights.files`), and only then older
    ones are removed. If it cannot be written, that is logged as an error, training goes on, the
    older ones stay, and the next save is tried as usual. The same holds for the files of the
    visualizer. Between two iterations that share a step, the gradient is averaged over ranks and
    saved as well. Arguments are those of ``CheckpointHook``; a back end in ``backend_args`` decides
    how files are written.

    A run ends after its first iteration if there is no room for its checkpoints. When training
    ends, also before its time, the last weights are saved with ``save_last``.

    Raises:
        OSError: There is no room for the checkpoints, or the last one could not be written.
    """

    # mmengine sets these without a type.
    backend_args: dict | None
    file_backend: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        is_local = '://' not in str(self.out_dir)
        if self.backend_args is None and self.file_client_args is None and is_local:
            self.backend_args = dict(backend='whole')
        self._gradients: dict[str, Tensor] = {}
        self._knows_room = False
        # The iteration of the weights that are on disk.
        self._saved = 0

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._saved = runner.iter
        if is_main_process():
            for part in Path(self.out_dir).glob(f'*.pth{PART}'):
                part.unlink()
        if runner.iter > 0:
            named = dict(unwrapped(runner.model).named_parameters())
            for name, saved in self._gradients.items():
                gradient = saved.to(named[name].device, named[name].dtype)
                named[name].grad = shared_as(gradient, named[name])
        self._gradients = {}
        forgive_failed_writes(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'] = plain(checkpoint['meta'])
        if 'optimizer' in checkpoint and self._gradients:
            checkpoint[GRADIENTS] = self._gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._gradients = checkpoint.get(GRADIENTS, {})

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        # The optimiser has its state from now on.
        if not self._knows_room and '://' not in str(self.out_dir) and is_main_process():
            require_room(runner, self, self.out_dir)
        self._knows_room = True
        super().after_train_iter(runner, *args, **kwargs)

    def after_train(self, runner: Runner) -> None:
        done = runner.iter
        if self.save_last and self._saved != done:
            step = runner.epoch if self.by_epoch else done
            if not self._save_checkpoint_with_step(
                runner, step, dict(epoch=runner.epoch, iter=done)
            ):
                raise OSError(
                    f'training has ended, but its last weights are not in {self.out_dir}, see '
                    'above: make room or give back the folder, and --resume'
                )
        super().after_train(runner)

    def save_now(self, runner: Runner) -> str | None:
        """Save after an iteration, in the middle of an epoch.

        Returns:
            The name, ``interrupted_{n}.pth``, of the file, which the next checkpoint replaces; or
            None if it could not be written.
        """
        once = copy(self)
        once.filename_tmpl, once.max_keep_ckpts = f'{INTERRUPTED}_{{}}.pth', -1
        step = runner.iter + 1
        saved = once._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=step))
        return once.filename_tmpl.format(step) if saved else None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> bool:
        """Save as mmengine does; return whether it could be written."""
        name = self.filename_tmpl.format(step)
        with self.or_go_on(runner, name) as errors:
            # A copy of this hook shares this dict with it.
            self._gradients.clear()
            self._gradients.update(mean_gradients(runner))
            super()._save_checkpoint_with_step(runner, step, meta)
            if is_main_process():
                for path in Path(self.out_dir).glob(f'{INTERRUPTED}_*.pth'):
                    if path.name != name:
                        path.unlink()
        if errors:
            return False
        self._saved = meta['iter']
        return True

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if hasattr(runner.val_loop, 'scalar_names'):
            # A score that the validation could not measure this time is not judged.
            metrics = dict.fromkeys(runner.val_loop.scalar_names(runner)) | metrics
        with self.or_go_on(runner, 'the best checkpoint'):
            super()._save_best_checkpoint(AgreesOnErrors(runner), metrics)

    @contextmanager
    def or_go_on(self, runner: Runner, name: str, alone: bool = False) -> Iterator[list[OSError]]:
        """Remove older files when the block has ended, after the newer ones were written.

        If a rank could not write or remove one, that is reported, nothing more is removed, and what
        the block noted in the message hub and in the hook is forgotten, on all ranks. The error is
        then in the list that the block is given. With ``alone`` this rank does not ask the others,
        which need not be here.
        """
        errors: list[OSError] = []
        info = runner.message_hub.runtime_info
        before = dict(info)
        state = {key: copy(value) for key, value in vars(self).items() if key in SAVED}
        backend = self.file_backend
        self.file_backend = later = RemovesLater(backend)
        try:
            with nullcontext() if alone else error_on_all_ranks():
                yield errors
                for path in later.noted:
                    backend.remove(path)
        except OSError as error:
            errors.append(error)
            if is_main_process():
                runner.logger.error(
                    f'{name} was not saved to {self.out_dir}: {error}. Training goes on, older '
                    'checkpoints stay, and the next save is tried as usual: make room or give back '
                    'the folder'
                )
            info.clear()
            info.update(before)
            self.__dict__.update(state)
        finally:
            self.file_backend = backend


def mean_gradients(runner: Runner) -> dict[str, Tensor]:
    """Return whole gradients for the next step, averaged over ranks; empty if none is begun.

    One file serves all ranks, and the mean is what will step.
    """
    if has_stepped(runner.optim_wrapper):
        return {}
    named = unwrapped(runner.model).named_parameters()
    gradients = {name: p.grad for name, p in named if p.grad is not None}
    # Gradients that are shared out over ranks are averaged already.
    all_reduce_params([x for x in gradients.values() if local(x) is x], op='mean')
    return whole(gradients)


@contextmanager
def error_on_all_ranks() -> Iterator[None]:
    """Raise an OSError on all ranks if a block of code raises one on some.

    Otherwise ranks would remember other checkpoints, and wait for each other in the next save.
    """
    failed: OSError | None = None
    try:
        yield
    except OSError as error:
        failed = error
    count = torch.tensor(float(failed is not None))
    all_reduce(count)
    if count:
        raise failed or OSError('another rank could not write it')


class AgreesOnErrors:
    """A Runner in which no rank goes on to the next checkpoint where one could not write this one.

    mmengine saves a best checkpoint for each of several scores in one call.
    """

    def __init__(self, runner: Any) -> None:
        self.runner = runner

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save as the Runner does."""
        with error_on_all_ranks():
            self.runner.save_checkpoint(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)


class RemovesLater:
    """A file backend that notes which files are to be removed, and leaves them there."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.noted: list[str] = []

    def remove(self, path: str) -> None:
        """Note that a file is to be removed."""
        self.noted.append(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


def plain(value: Any) -> Any:
    """Return a value with dicts and texts in the place of mmengine's dicts and of paths."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return str(value) if isinstance(value, Path) else value
