"""Optimiser wrappers: training in bfloat16, and steps by finite gradients only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmentropy.distributed import unwrapped


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


class FiniteGradients:
    """Another optimiser wrapper, whose step is refused if a gradient is not finite.

    A training loop hands it to ``train_step`` in the place of the other one.

    Args:
        wrapper: The wrapper that does the work.
        model: The model that is trained.
    """

    # It calls the methods below.
    update_params: Any = OptimWrapper.update_params

    def __init__(self, wrapper: OptimWrapper, model: nn.Module) -> None:
        self.wrapper = wrapper
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapper, name)

    def step(self, **kwargs: Any) -> None:
        """Step, if all gradients are finite.

        Raises:
            FloatingPointError: They are not, and nothing was changed.
        """
        check_gradients(self.model)
        self.wrapper.step(**kwargs)


def check_gradients(model: nn.Module) -> None:
    """Check that the gradients of all parameters are finite, by one wait for the device.

    Raises:
        FloatingPointError: It says how many are not, and names one.
    """
    named = [
        (name, p.grad) for name, p in unwrapped(model).named_parameters() if p.grad is not None
    ]
    if not named:
        return
    # A gradient of more than 1e19 has an infinite length, and is of no use either.
    lengths = torch._foreach_norm([gradient for _, gradient in named])
    bad = ~torch.isfinite(torch.stack(lengths))
    if bad.any():
        names = [name for (name, _), is_bad in zip(named, bad) if is_bad]
        raise FloatingPointError(
            f'the gradient of {len(names)} of {len(named)} parameters is not finite, e.g. of '
            f'{names[0]}'
        )


def has_stepped(wrapper: OptimWrapper) -> bool:
    """Return whether the iteration just done ended in a step of the optimiser.

    Where there are several optimisers the algorithm decides when each one steps, and every
    iteration counts.
    """
    return isinstance(wrapper, OptimWrapperDict) or wrapper.should_update()
