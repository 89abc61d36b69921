"""mmengine's training loops, with an iteration that hooks can guard and an epoch that can go on."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from mmengine.hooks import LoggerHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from mmentropy.checks.config_parts import dicts_in
from mmentropy.compat.mmengine_loop import replace_train_loop
from mmentropy.datasets.loader_processes import guard_loader
from mmentropy.engine.accumulation import accumulation_line, iterations_per_step
from mmentropy.models.optimizer_steps import ITERATIONS_PER_STEP


def plain_train_step(model: Any, batch: Any, optim_wrapper: Any) -> dict:
    """Return what ``model.train_step`` returns, which is how mmengine trains."""
    return model.train_step(batch, optim_wrapper=optim_wrapper)


class TrainLoop(BaseLoop):
    """What both loops have: ``train_step``, which hooks may set before training begins.

    It takes the model, a batch and the optimiser wrapper, and returns what the model logs, or an
    empty dict if the iteration was left out. Hooks may put calls into ``on_leaving`` while
    training, which are made when it ends, also by an error.
    """

    train_step: Callable[[Any, Any, Any], dict] = staticmethod(plain_train_step)
    on_leaving: ExitStack
    _iter: int

    def run(self) -> nn.Module:
        """Train, and return the model, which learns how many iterations share a step."""
        count = iterations_per_step(self.runner)
        self.runner.message_hub.update_info(ITERATIONS_PER_STEP, count)
        if line := accumulation_line(self.runner):
            self.runner.logger.info(line)
        with ExitStack() as self.on_leaving:
            return super().run()  # type: ignore[safe-super]

    def train_on(self, index: int, batch: Any) -> None:
        """Run an iteration as mmengine does, but by the loop's own ``train_step``."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=index, data_batch=batch)
        outputs = self.train_step(runner.model, batch, runner.optim_wrapper)
        runner.call_hook('after_train_iter', batch_idx=index, data_batch=batch, outputs=outputs)
        self._iter += 1


@LOOPS.register_module()
class EpochTrainLoop(TrainLoop, EpochBasedTrainLoop):
    """mmengine's loop over epochs.

    Attributes:
        batches_done: The number of batches of the first epoch that an earlier process has trained
            on. The loader leaves them out, the loop counts from there.
    """

    batches_done: int = 0

    def run_epoch(self) -> None:
        """Train on the batches of one epoch that are left."""
        self.runner.call_hook('before_train_epoch')
        # A validation that an earlier process owed may have ended the training.
        if self.stop_training:
            return
        self.runner.model.train()
        done, self.batches_done = self.batches_done, 0
        for index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch, the ``idx``-th of its epoch."""
        self.train_on(idx, data_batch)


@LOOPS.register_module()
class IterationTrainLoop(TrainLoop, IterBasedTrainLoop):
    """mmengine's loop over iterations."""

    def run_iter(self, data_batch: Any) -> None:
        """Train on one batch."""
        self.train_on(self._iter, data_batch)


def has_stepped(wrapper: OptimWrapper) -> bool:
    """Return whether the iteration just done ended in a step of the optimiser.

    Where there are several optimisers, the algorithm decides when each one steps, and every
    iteration counts as a step.
    """
    return isinstance(wrapper, OptimWrapperDict) or wrapper.should_update()


def use_train_loop(runner: Runner) -> bool:
    """Let a Runner with one of mmengine's loops train by ours; return whether it does so now."""
    kinds = {EpochBasedTrainLoop: EpochTrainLoop, IterBasedTrainLoop: IterationTrainLoop}
    kind = kinds.get(type(runner.train_loop))
    if kind is not None:
        replace_train_loop(runner, kind)
    log_by_iterations(runner)
    return isinstance(runner.train_loop, TrainLoop)


def log_by_iterations(runner: Runner) -> None:
    """Let logs of a Runner that counts iterations count them, unless its config says otherwise.

    mmengine's count within epochs, and put every validation at epoch 0.
    """
    counts_epochs = not isinstance(runner.train_loop, IterBasedTrainLoop)
    if 'by_epoch' not in (runner.cfg.get('log_processor') or {}):
        runner.log_processor.by_epoch = counts_epochs
    settings = dicts_in([runner.cfg.get('default_hooks'), runner.cfg.get('custom_hooks')])
    if counts_epochs or any('log_metric_by_epoch' in hook for hook in settings):
        return
    for hook in runner.hooks:
        if isinstance(hook, LoggerHook):
            hook.log_metric_by_epoch = False


def require_train_loop(runner: Runner, hook: str) -> None:
    """Let a Runner train by our loop for a hook; raise ValueError if it has somebody else's."""
    if not use_train_loop(runner):
        raise ValueError(
            f'{hook} cannot work with train_cfg.type={type(runner.train_loop).__name__!r}: use '
            "mmengine's loops, a subclass of mmentropy.engine.train_loop.EpochTrainLoop or "
            'IterationTrainLoop, or leave the hook out'
        )


def replace_dataloader(loop: Any, loader: Any) -> None:
    """Let a training loop, ours or mmengine's, take its batches from another loader."""
    loop.dataloader = loader
    # mmengine's iterator starts loader processes, and no signal to this process shall end them.
    guard_loader(loader)
    if hasattr(loop, 'dataloader_iterator'):
        # A loop over iterations has begun to iterate when it was made.
        loop.dataloader_iterator = type(loop.dataloader_iterator)(loader)
