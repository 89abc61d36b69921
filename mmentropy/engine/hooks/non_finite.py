"""Iterations that would ruin the network are left out."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseAveragedModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, INDEX, require
from mmentropy.compat.mmengine_optim_wrapper import set_iteration_count
from mmentropy.distributed import local, unwrapped
from mmentropy.engine.train_loop import has_stepped, plain_train_step, require_train_loop
from mmentropy.models.optimizer_steps import leave_out_iteration
from mmentropy.weights.files import save_whole

# The key in the message hub, and so in a checkpoint, of the number of iterations left out.
STATE = 'non_finite'
# The scale at which a loss scaler has given up, as in fairseq. torch begins at 65536 and halves the
# scale at each overflow.
MIN_SCALE = 1e-4


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leave out iterations whose loss or gradient is not finite.

    It works for any algorithm, and all ranks leave out the same iterations: the terms of our losses
    are averaged over ranks, and so is the gradient. In an iteration that is left out the optimiser
    does not step, and buffers (batch statistics, centres) and averaged networks are put back, but
    the iteration counts. Its images are kept in ``bad_batches/iter_{n}_rank_{r}.pt``, a file for
    ``torch.load`` with ``inputs``, their ``shapes``, the ``samples`` they belong to and the
    ``error``.

    Each of several optimisers refuses its step alone: those before it in the iteration have
    stepped. If several iterations share a step, a bad one takes the gradients before it along. A
    loss scaler skips overflows itself, so with one only the loss and the scale are looked at. The
    cost is one wait for the device an iteration, a collective where there is a loss scaler or no
    step, and a copy of the buffers and of the averaged networks.

    Args:
        patience: After so many iterations in a row training stops with a FloatingPointError, as it
            does when a loss scaler has given up.
        keep: The images of at most so many iterations are kept.
    """

    def __init__(self, patience: int = 10, keep: int = 20) -> None:
        require(COUNT, patience=patience)
        require(INDEX, keep=keep)
        self.patience = patience
        self.keep = keep
        self.in_a_row = 0
        self.total = 0

    def before_run(self, runner: Runner) -> None:
        require_train_loop(runner, 'NonFiniteHook')

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0:
            self.total = runner.message_hub.get_info(STATE, 0)
        self._runner = runner
        self._moving: list[list[Tensor]] = []
        runner.train_loop.train_step = self.train_step

    def after_train(self, runner: Runner) -> None:
        runner.train_loop.train_step = plain_train_step

    def train_step(self, model: Any, batch: Any, wrapper: Any) -> dict:
        """Train on a batch, and return what the model logs, or an empty dict if it is left out."""
        if not self._moving:
            # Other hooks may have changed the network's layout before training.
            self._moving = by_type(moved_by_loss(model))
            self._copies = [[*map(torch.empty_like, kind)] for kind in self._moving]
        copy_groups(self._moving, self._copies)
        scaled = hasattr(wrapper, 'loss_scaler')
        try:
            outputs = model.train_step(batch, optim_wrapper=guarded(wrapper, model))
            if scaled or not has_stepped(wrapper):
                check_loss(outputs)
        except FloatingPointError as error:
            self._leave_out(wrapper, batch, error)
            return {}
        if scaled:
            check_scale(wrapper.loss_scaler)
        if has_stepped(wrapper):
            self.in_a_row = 0
        return outputs

    def _leave_out(self, wrapper: Any, batch: Any, error: FloatingPointError) -> None:
        """Put back what the iteration has changed, and report it."""
        wrapper.zero_grad()
        copy_groups(self._copies, self._moving)
        leave_out_iteration()
        iteration = self._runner.iter + 1
        # A wrapper counts iterations in its backward pass, which may not have been reached.
        set_iteration_count(wrapper, iteration)
        self.in_a_row += 1
        self.total += 1
        self._runner.message_hub.update_info(STATE, self.total)
        message = (
            f'iteration {iteration} is left out ({self.in_a_row} in a row, {self.total} in all)'
            f'{self._keep_images(iteration, batch, error)}: {error}'
        )
        # The advice of the model is about training, which is not at fault.
        if inputs := bad_images(batch):
            message = f'{message.removesuffix(f": {error}")}: {inputs}'
        if self.in_a_row >= self.patience:
            advice = (
                'lower the learning rate, warm it up longer, clip the gradient, '
                'optim_wrapper.clip_grad=dict(max_norm=1.), use bfloat16 in place of float16, or '
                'look at the images; then --resume from a checkpoint before'
            )
            raise FloatingPointError(
                f'{message}. Training stops{"" if inputs else f"; {advice}"}'
            ) from error
        self._runner.logger.warning(message)

    def _keep_images(self, iteration: int, batch: Any, error: FloatingPointError) -> str:
        """Write the images of a bad batch; return where they are, to go on with a sentence."""
        if self.total > self.keep:
            return ''
        name = Path('bad_batches', f'iter_{iteration}_rank_{get_rank()}.pt')
        content = dict(images_of(batch), error=str(error))
        try:
            save_whole(content, Path(self._runner.work_dir, name))
        except OSError as problem:
            return f', its images could not be kept ({problem})'
        return f', its images are in {name}'


class FiniteGradients:
    """Stands for an optimiser wrapper, but refuses a step if a gradient is not finite."""

    # It calls the methods below.
    update_params: Any = OptimWrapper.update_params

    def __init__(self, wrapper: OptimWrapper, model: nn.Module) -> None:
        self.wrapper = wrapper
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapper, name)

    def step(self, **kwargs: Any) -> None:
        """Step, or raise the error of :func:`check_gradients`, and nothing was changed."""
        check_gradients(self.model)
        self.wrapper.step(**kwargs)


def guarded(wrapper: Any, model: nn.Module) -> Any:
    """Return what stands for a wrapper, or for several, and refuses steps that are not finite.

    A loss scaler, or an ``update_params`` of its own, decides itself when to step.
    """
    if isinstance(wrapper, OptimWrapperDict):
        several = copy(wrapper)
        several.optim_wrappers = {name: guarded(one, model) for name, one in wrapper.items()}
        return several
    own = type(wrapper).update_params is not OptimWrapper.update_params
    return wrapper if own or hasattr(wrapper, 'loss_scaler') else FiniteGradients(wrapper, model)


def check_gradients(model: nn.Module) -> None:
    """Raise FloatingPointError if a gradient is not finite, after one wait for the device."""
    grads = {n: p.grad for n, p in unwrapped(model).named_parameters() if p.grad is not None}
    if not grads:
        return
    # A gradient of more than 1e19 has an infinite length, and is of no use either.
    flags = torch.isfinite(torch.stack(torch._foreach_norm([*map(local, grads.values())]))).int()
    if any(local(gradient) is not gradient for gradient in grads.values()):
        # Each rank has a part of it.
        all_reduce(flags, 'min')
    finite = flags.tolist()
    if not all(finite):
        raise FloatingPointError(
            f'the gradient of {finite.count(0)} of {len(grads)} parameters is not finite, '
            f'e.g. of {[*grads][finite.index(0)]}'
        )


def by_type(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group tensors of one type on one device."""
    kinds: dict[Any, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        kinds[tensor.dtype, tensor.device].append(tensor)
    return list(kinds.values())


def moved_by_loss(model: nn.Module) -> Iterator[Tensor]:
    """Give all that computing a loss may change: buffers, and averaged networks.

    Of what is sharded it is the part of this rank.
    """
    yield from model.buffers()
    for part in model.modules():
        if isinstance(part, BaseAveragedModel):
            yield from map(local, part.module.parameters())


@torch.no_grad()
def copy_groups(sources: list[list[Tensor]], targets: list[list[Tensor]]) -> None:
    """Copy lists of tensors, each list of one type on one device, into others."""
    for source, target in zip(sources, targets):
        torch._foreach_copy_(target, source)


def check_scale(scaler: Any) -> None:
    """Raise FloatingPointError if a loss scaler found no scale of finite gradients."""
    scale = scaler.get_scale()
    if scale < MIN_SCALE:
        raise FloatingPointError(
            f'the loss scale has fallen to {scale:.3g}: no gradient has been finite for long. '
            'Training stops; use bfloat16 in place of float16, or lower the learning rate; then '
            '--resume from a checkpoint before'
        )


def check_loss(outputs: dict) -> None:
    """Raise FloatingPointError on all ranks if the loss of one is not finite."""
    loss = outputs.get('loss')
    if isinstance(loss, Tensor):
        bad = (~torch.isfinite(loss.detach())).float().sum()
        all_reduce(bad)
        if bad > 0:
            raise FloatingPointError(f'the loss of {int(bad)} of the processes is not finite')


def images_of(batch: Any) -> dict:
    """Return the images of a batch, with texts and numbers that say where they are from."""
    if not isinstance(batch, dict):
        return {}
    infos = [getattr(sample, 'metainfo', {}) for sample in batch.get('data_samples') or []]
    samples = [{k: v for k, v in info.items() if isinstance(v, (str, int))} for info in infos]
    return dict(inputs=batch.get('inputs'), shapes=batch.get('shapes'), samples=samples)


def bad_images(batch: Any) -> str:
    """Say which images of a batch of this rank are not finite, and what to do; '' if none is."""
    content = images_of(batch)
    views = content.get('inputs')
    views = views if isinstance(views, (list, tuple)) else [views]
    rows: set[int] = set()
    for view in views:
        if isinstance(view, Tensor) and view.is_floating_point():
            rows |= {*(~view.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()}
    if not rows:
        return ''
    samples = content['samples']
    named = [samples[row] for row in sorted(rows) if row < len(samples)]
    paths = [str(info.get('img_path', info.get('sample_idx'))) for info in named[:3]]
    count = len(views[0])
    return (
        f'{len(rows)} of {count} images are not finite themselves ({", ".join(paths)}): repair or '
        'remove these files, or mend the transform that makes them so'
    )
