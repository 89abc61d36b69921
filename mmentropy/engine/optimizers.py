"""LARS without a wait per parameter, and training in bfloat16."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmpretrain.engine.optimizers import LARS
from mmpretrain.registry import OPTIMIZERS
from torch import Tensor, nn

from mmentropy.checks.arguments import FLAG, NOT_NEGATIVE, require

_SETTINGS = ('lr', 'momentum', 'dampening', 'weight_decay', 'nesterov', 'eta', 'lars_exclude')


@OPTIMIZERS.register_module()
class ForeachLARS(LARS):
    """mmpretrain's ``LARS``, with all parameters of equal settings in one call.

    Arguments, steps and state dict are the same. mmpretrain's reads two norms of every parameter on
    the host, which waits for the device; this reads none.

    Source:
        arXiv 1708.03888;
        mmpretrain@ee7f2e8:mmpretrain/engine/optimizers/lars.py.
    """

    def __init__(self, params: Any, lr: float, **kwargs: Any) -> None:
        require(FLAG, nesterov=kwargs.get('nesterov', False))
        numbers = kwargs.keys() - {'nesterov'}
        require(NOT_NEGATIVE, lr=lr, **{n: kwargs[n] for n in numbers})
        super().__init__(params, lr, **kwargs)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """Step, and return the value of ``closure`` if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # mmengine makes a group of each parameter as soon as one differs.
        alike: dict[tuple, list[Tensor]] = defaultdict(list)
        for group in self.param_groups:
            settings = tuple(group.get(name, False) for name in _SETTINGS)
            alike[settings] += [p for p in group['params'] if p.grad is not None]
        for settings, params in alike.items():
            if params:
                self._step(params, *settings)
        return loss

    def _step(
        self,
        params: list[Tensor],
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        eta: float,
        lars_exclude: bool,
    ) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        moves = list(torch._foreach_add(grads, params, alpha=weight_decay))
        if lars_exclude:
            torch._foreach_mul_(moves, lr)
        else:
            weight = torch.stack(torch._foreach_norm(params))
            grad = torch.stack(torch._foreach_norm(grads))
            rate = eta * weight / (grad + weight_decay * weight + self.eps)
            rate = rate.where((weight != 0) & (grad != 0), 1.0)
            torch._foreach_mul_(moves, list((lr * rate).unbind()))
        if momentum:
            for p, move in zip(params, moves):
                if 'momentum_buffer' not in self.state[p]:
                    # The first step is the move itself, without dampening.
                    self.state[p]['momentum_buffer'] = move * (dampening / momentum)
            buffers = [self.state[p]['momentum_buffer'] for p in params]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, moves, alpha=1 - dampening)
            moves = (
                list(torch._foreach_add(moves, buffers, alpha=momentum)) if nesterov else buffers
            )
        torch._foreach_sub_(params, moves)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on a CPU as well as on a GPU.

    mmengine's ``AmpOptimWrapper`` refuses the CPU. bfloat16 has the range of float32, so there is
    no loss to scale.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast on the device of the model's parameters."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
