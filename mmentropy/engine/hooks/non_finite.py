"""Steps that would ruin the network are left out."""

from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, INDEX, require
from mmentropy.distributed import unwrapped
from mmentropy.weights.files import save_whole

# Of the number of iterations left out, in a checkpoint.
STATE = 'non_finite'
# Of a loss, as fairseq's; torch begins at 65536 and halves it at an overflow.
MIN_SCALE = 1e-4


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leave out iterations whose loss or gradient is not finite.

    For any algorithm, on all ranks together: a term of our losses is averaged
    over ranks, and so is the gradient. The optimiser does not step, buffers
    (batch statistics, centres) are put back, the iteration counts, and the
    images are kept in ``bad_batches/iter_{n}_rank_{r}.pt``, which
    ``torch.load`` reads: ``inputs``, the ``samples`` they are of and the
    ``error``. Of several iterations that share a step, one that is bad takes
    the gradients before it along. With a loss scaler, which skips overflows
    itself, the loss and the scale are looked at. Costs one wait for the device
    an iteration, and a collective with a loss scaler or without a step.

    Args:
        patience: Left out in a row before training stops.
        keep: Batches that are kept at most.

    Raises:
        ValueError: An argument is wrong.
        FloatingPointError: While training, after ``patience`` in a row, or
            when a loss scaler has given up.
    """

    def __init__(self, patience: int = 10, keep: int = 20) -> None:
        require(COUNT, patience=patience)
        require(INDEX, keep=keep)
        self.patience = patience
        self.keep = keep
        self.in_a_row = 0
        self.total = 0

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0:
            self.total = runner.message_hub.get_info(STATE, 0)
        self._buffers = Buffers(runner.model)
        model, wrapper = runner.model, runner.optim_wrapper
        self._scaled = hasattr(wrapper, 'loss_scaler')
        self._undo = [put(model, 'train_step', self._guarded(model.train_step, runner))]
        if not self._scaled:
            self._undo.append(put(wrapper, 'step', checked(wrapper.step, model)))

    def after_train(self, runner: Runner) -> None:
        for undo in self._undo:
            undo()
        self._undo = []

    def _guarded(self, train_step: Callable[..., dict], runner: Runner) -> Callable[..., dict]:

        def step(data: Any, optim_wrapper: Any) -> dict:
            self._buffers.keep()
            try:
                outputs = train_step(data, optim_wrapper=optim_wrapper)
                stepped = has_stepped(optim_wrapper)
                # What nothing has looked at yet.
                if self._scaled or not stepped:
                    check_loss(outputs)
            except FloatingPointError as error:
                optim_wrapper.zero_grad()
                self._buffers.put_back()
                # The wrapper counts an iteration when it goes backward.
                if hasattr(optim_wrapper, '_inner_count'):
                    optim_wrapper._inner_count = runner.iter + 1
                self._left_out(runner, data, error)
                return {}
            if self._scaled:
                check_scale(optim_wrapper.loss_scaler)
            if stepped:
                self.in_a_row = 0
            return outputs

        return step

    def _left_out(self, runner: Runner, data: Any, error: FloatingPointError) -> None:
        self.in_a_row += 1
        self.total += 1
        runner.message_hub.update_info(STATE, self.total)
        name = Path('bad_batches', f'iter_{runner.iter + 1}_rank_{get_rank()}.pt')
        kept = ''
        if self.total <= self.keep:
            try:
                save_whole(dict(kept_of(data), error=str(error)), Path(runner.work_dir, name))
                kept = f', its images are in {name}'
            except OSError as problem:
                kept = f', its images could not be kept ({problem})'
        counts = f'{self.in_a_row} in a row, {self.total} in all'
        message = f'iteration {runner.iter + 1} is left out ({counts}){kept}: '
        if self.in_a_row < self.patience:
            runner.logger.warning(f'{message}{error}')
            return
        raise FloatingPointError(
            f'{message}{error}. Training stops; lower the learning rate, warm '
            'it up longer, clip the gradient, '
            'optim_wrapper.clip_grad=dict(max_norm=1.), use bfloat16 in place '
            'of float16, or look at the images; then --resume from a '
            'checkpoint before'
        ) from error


class Buffers:
    """A copy of what a forward pass may change besides parameters."""

    def __init__(self, model: nn.Module) -> None:
        kinds: dict[Any, list[Tensor]] = defaultdict(list)
        for buffer in model.buffers():
            kinds[buffer.dtype, buffer.device].append(buffer)
        self.pairs = [
            (buffers, [torch.empty_like(b) for b in buffers]) for buffers in kinds.values()
        ]

    @torch.no_grad()
    def keep(self) -> None:
        for buffers, copies in self.pairs:
            torch._foreach_copy_(copies, buffers)

    @torch.no_grad()
    def put_back(self) -> None:
        for buffers, copies in self.pairs:
            torch._foreach_copy_(buffers, copies)


def put(owner: Any, name: str, method: Callable) -> Callable[[], None]:
    """Replace a method of one object; returns what undoes it."""
    own = vars(owner)
    # A compiled or counted method is the object's own, too.
    before = {name: own[name]} if name in own else {}
    own[name] = method

    def undo() -> None:
        del own[name]
        own.update(before)

    return undo


def checked(step: Callable[..., None], model: nn.Module) -> Callable[..., None]:
    """``step`` of an optimiser, not taken if a gradient is not finite."""

    # With the mark of schedulers, which warn of a step that is not theirs.
    @wraps(step)
    def checked_step(*args: Any, **kwargs: Any) -> None:
        named = [
            (name, p.grad) for name, p in unwrapped(model).named_parameters() if p.grad is not None
        ]
        if named:
            # Lengths of more than 1e19 overflow, and are no use either.
            lengths = torch._foreach_norm([g for _, g in named])
            bad = ~torch.isfinite(torch.stack(lengths))
            if bad.any():
                names = [name for (name, _), b in zip(named, bad) if b]
                raise FloatingPointError(
                    f'the gradient of {len(names)} of {len(named)} parameters '
                    f'is not finite, e.g. of {names[0]}'
                )
        step(*args, **kwargs)

    return checked_step


def has_stepped(wrapper: Any) -> bool:
    """Whether the iteration just done was the last before a step."""
    # Of several optimisers the algorithm decides.
    return isinstance(wrapper, OptimWrapperDict) or wrapper.should_update()


def check_scale(scaler: Any) -> None:
    """Raise if a loss scaler found no scale at which gradients are finite."""
    scale = scaler.get_scale() if scaler is not None else 1.0
    if scale < MIN_SCALE:
        raise FloatingPointError(
            f'the loss scale has fallen to {scale:.3g}: no gradient has been '
            'finite for long. Training stops; use bfloat16 in place of '
            'float16, or lower the learning rate; then --resume from a '
            'checkpoint before'
        )


def check_loss(outputs: dict) -> None:
    """Raise on all ranks if the loss of one is not finite."""
    loss = outputs.get('loss')
    if isinstance(loss, Tensor):
        bad = (~torch.isfinite(loss.detach())).float().sum()
        all_reduce(bad)
        if bad > 0:
            raise FloatingPointError(f'the loss of {int(bad)} of the processes is not finite')


def kept_of(data: Any) -> dict:
    """What is worth a look, as tensors, texts and numbers."""
    if not isinstance(data, dict):
        return {}
    samples = data.get('data_samples') or []
    return dict(
        inputs=data.get('inputs'),
        shapes=data.get('shapes'),
        samples=[
            {
                key: value
                for key, value in getattr(sample, 'metainfo', {}).items()
                if isinstance(value, (str, int))
            }
            for sample in samples
        ],
    )
