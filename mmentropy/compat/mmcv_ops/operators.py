"""What the operators of this folder share: their table, precision, and the adding of gradients."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
import torchvision
from torch import Tensor

# The functions of ``mmcv._ext``.
OPS: dict[str, Callable] = {}
TORCHVISION = torch.ops.torchvision
# A coordinate outside of any image, in pixels.
OUTSIDE = -3e4


def operator(function: Callable) -> Callable:
    """Put a function into ``mmcv._ext``, out of autograd and autocast."""

    @wraps(function)
    def run(first: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            return function(first, *args, **kwargs)

    OPS[function.__name__] = run
    return run


def widen_halves(*tensors: Tensor) -> list[Tensor]:
    """Halves as float32, others as they are."""
    halves = (torch.float16, torch.bfloat16)
    return [t.float() if t.dtype in halves else t for t in tensors]


def add_gradients(
    function: Callable, inputs: Sequence[Tensor], grad: Tensor, into: Sequence[Tensor]
) -> None:
    """Add to ``into`` the gradients of ``function(*inputs)``, recomputed."""
    leaves = [x.detach().requires_grad_() for x in widen_halves(*inputs)]
    with torch.enable_grad():
        output = function(*leaves)
    add_each(into, torch.autograd.grad(output, leaves, grad.to(output.dtype)))


def add_each(totals: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    """Add each of ``parts`` to its total."""
    for total, part in zip(totals, parts):
        total += part


def add_at(total: Tensor, index: Tensor, values: Tensor) -> None:
    """Add ``values`` to the elements ``index`` of the flattened ``total``."""
    flat = values.new_zeros(total.numel())
    flat.index_add_(0, index.flatten(), values.flatten())
    total += flat.view_as(total)


OPS['get_compiler_version'] = lambda: (
    f'none, mmentropy.compat.mmcv_ops on torchvision {torchvision.__version__}'
)
OPS['get_compiling_cuda_version'] = lambda: 'not available'
