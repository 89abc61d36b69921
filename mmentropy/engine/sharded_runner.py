"""Training of networks whose weights, gradients and optimiser state are shared out over ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.model import BaseAveragedModel, convert_sync_batchnorm
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from mmpretrain.registry import RUNNERS
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.utils._pytree import tree_map_only

from mmentropy.distributed import shared_as, whole
from mmentropy.engine.larc import LARC


@RUNNERS.register_module()
class ShardedRunner(Runner):
    """mmengine's Runner with fully sharded data parallelism, torch's FSDP2.

    Each rank keeps a part of every weight, gradient and state of the optimiser, averaged copies
    included. A block of the backbone is put together when it is needed and given up afterwards.
    Loop, hooks, losses and checkpoints are those of DDP: a checkpoint has whole tensors, is written
    by the first rank, and can be resumed on another number of ranks, or without sharding.

    Arguments are those of ``Runner``; ``model_wrapper_cfg`` has no effect.

    Raises:
        ValueError: There are several optimisers, or one that looks at whole tensors.

    Source:
        arXiv 2304.11277; torch 2.14.1:torch/distributed/fsdp/_fully_shard.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Share out a model, which stays the same object; one rank alone keeps it whole."""
        if not self.distributed or get_world_size() == 1:
            self.logger.warning('ShardedRunner: one process has nobody to share the network with')
            return super().wrap_model(None, model)
        model = model.to(get_device())
        if self.cfg.get('sync_bn') is not None:
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        # Weights are drawn while tensors are whole, as with DDP: a part would get other numbers.
        super()._init_model_weights()
        shard(model, init_device_mesh(torch.device(get_device()).type, (get_world_size(),)))
        return model

    def _init_model_weights(self) -> None:
        """Draw the first weights, unless they were before they were shared out."""
        if not isinstance(self.model, FSDPModule):
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        """Build the optimiser, whose state is shared out when it is loaded."""
        built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(built, OptimWrapperDict):
            raise ValueError('ShardedRunner works with one optimiser, and the config has several')
        kind = type(built.optimizer)
        if not kind.__module__.startswith('torch.optim') and not issubclass(kind, LARC):
            raise ValueError(
                f'ShardedRunner trains with the optimisers of torch and with LARC, got '
                f'{kind.__name__}: it may take the length of a part of a weight for that of the '
                'whole, as LARS does'
            )
        built.optimizer.register_load_state_dict_post_hook(share_state)
        return built

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save whole tensors; all ranks have to call it."""
        with whole_state_dicts(self.model, self.optim_wrapper.optimizer):
            super().save_checkpoint(*args, **kwargs)


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Share the parameters of an algorithm out over a mesh of ranks, in place.

    Units, which are put together and given up as a whole, are the blocks of each backbone, the rest
    of each backbone, each neck, and what is left, the head. Averaged copies are sharded in the same
    way, so that their parameters lie as those do that they follow, also while they move.

    Args:
        model: An algorithm on its device, with the same parameters on all ranks.
        mesh: All ranks, in one dimension.
    """
    averaged = [m for m in model.modules() if isinstance(m, BaseAveragedModel)]
    networks = [getattr(model, name, None) for name in ('backbone', 'neck')]
    networks += [network for average in averaged for network in average.module.children()]
    for network in networks:
        if isinstance(network, nn.Module) and any(True for _ in network.parameters()):
            for block in blocks_of(network):
                fully_shard(block, mesh=mesh)
            network.register_forward_hook(without_views)
            fully_shard(network, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh)
    for average in averaged:
        # mmengine looks its parameters up once, when it copies the network.
        found = average.module
        average.avg_parameters = (
            found.state_dict() if average.update_buffers else dict(found.named_parameters())
        )
    # A network that is called alone before the first iteration, as to embed images, must not take
    # itself for the outermost one.
    state = fully_shard.state(model)  # type: ignore[attr-defined]
    state._lazy_init()
    for average in averaged:
        average.register_forward_pre_hook(lambda *_: wait_for_move(state))
    model.register_load_state_dict_pre_hook(share_weights)


def wait_for_move(state: Any) -> None:
    """Let the streams that put networks together wait for all that was queued, such as a move.

    torch lets them wait for the optimiser, at the beginning of an algorithm's forward pass. An
    averaged copy moves later, within that pass, and its blocks might be put together of both old
    and new numbers.

    Args:
        state: torch's state of the outermost sharded module.
    """
    current = state._device_handle.current_stream()
    state._comm_ctx.all_gather_copy_in_stream.wait_stream(current)
    state._comm_ctx.all_gather_stream.wait_stream(current)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The members with parameters of the lists and sequences of a network, the outermost ones."""
    found: list[nn.Module] = []
    for child in network.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            found += [block for block in child if any(True for _ in block.parameters())]
        else:
            found += blocks_of(child)
    return found


def without_views(network: nn.Module, inputs: Any, outputs: Any) -> Any:
    """The outputs of a network, copied where they are views.

    A change of a view in place would make torch forget to put the network together for the backward
    pass.
    """
    return tree_map_only(Tensor, lambda x: x.clone() if x._is_view() else x, outputs)


def share_weights(model: nn.Module, state_dict: dict, prefix: str, *args: Any) -> None:
    """Share out the whole tensors of a state dict before they are loaded."""
    for name, parameter in model.named_parameters():
        value = state_dict.get(prefix + name)
        if value is not None and value.shape == parameter.shape:
            state_dict[prefix + name] = shared_as(value, parameter)


def share_state(optimizer: torch.optim.Optimizer) -> None:
    """Share out the whole tensors of a state that was loaded."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[key] = shared_as(value, parameter)


@contextmanager
def whole_state_dicts(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let the state dicts of a model and of its optimiser have whole tensors, on the first rank."""
    weights, state = whole(model.state_dict()), whole(optimizer.state_dict())
    handles = [
        model._register_state_dict_hook(lambda module, found, *rest: found.update(weights)),
        optimizer.register_state_dict_post_hook(lambda optimizer, found: state),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
