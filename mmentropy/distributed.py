"""Collectives with the exact gradient.

Convention: every rank computes a loss, and DDP averages the gradients. A loss
of gathered rows is the same number on every rank; its gradient then equals
that of one process on the concatenated batch.
"""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size, is_main_process
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only


def _sum_over_ranks(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.rows = len(z)
        return torch.cat(all_gather(z.contiguous()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return local_rows(_sum_over_ranks(grad), ctx.rows)


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum_over_ranks(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _sum_over_ranks(grad)


def gather(z: Tensor) -> Tensor:
    """Rows of all ranks, in rank order; ``z`` itself on one rank.

    Args:
        z: (N, ...), the same shape on every rank (``drop_last=True``).

    Returns:
        (W * N, ...). Backward sums the gradients of all ranks and returns
        the slice of this one.
    """
    return z if get_world_size() == 1 else _Gather.apply(z)


def all_sum(x: Tensor) -> Tensor:
    """Sum of ``x`` over ranks; ``x`` itself on one rank.

    Args:
        x: Any shape, the same on every rank.

    Returns:
        Same shape. Backward sums the gradients of all ranks.
    """
    return x if get_world_size() == 1 else _AllSum.apply(x)


def local_rows(x: Tensor, rows: int) -> Tensor:
    """This rank's ``rows`` of a gathered tensor."""
    first = get_rank() * rows
    return x[first : first + rows]


def local(x: Tensor) -> Tensor:
    """What this rank has of a tensor that is shared out over ranks; others are returned as is.

    It is the same memory, for changes in place.
    """
    return x.to_local() if isinstance(x, DTensor) else x


def shared_as(x: Tensor, other: Tensor) -> Tensor:
    """A tensor that all ranks have, shared out as another of its shape is; or ``x`` itself.

    It takes device and type of the other one. All ranks have to take part.
    """
    if not isinstance(other, DTensor):
        return x
    return distribute_tensor(x.to(other.device, other.dtype), other.device_mesh, other.placements)


def whole(state: dict) -> dict:
    """A dict, also a nested one, with its tensors on the CPU, whole where they are shared out.

    All ranks have to take part; those but the first get None for what is shared out.
    """
    kept = is_main_process()

    def put_together(x: Tensor) -> Tensor | None:
        if not isinstance(x, DTensor):
            return x.cpu()
        found = x.full_tensor()
        return found.cpu() if kept else None

    return tree_map_only(Tensor, put_together, state)


def unwrapped(model: nn.Module) -> Any:
    """The model itself, where it is wrapped for several ranks."""
    return model.module if is_model_wrapper(model) else model


def start_cpu_ranks(cfg: Config) -> None:
    """Start gloo under torchrun, which mmengine cannot without a GPU.

    Args:
        cfg: Config of a Runner; its DDP wrapper is set to one for the CPU.
    """
    torch.distributed.init_process_group('gloo')
    cfg.model_wrapper_cfg = cpu_wrapper(cfg.get('find_unused_parameters', False))


def cpu_wrapper(find_unused_parameters: bool = False) -> dict:
    """Config of a DDP wrapper without a GPU."""
    return dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=find_unused_parameters,
        device_ids=None,
    )
