"""The setting ``activation_checkpointing`` of mmengine, with the gradient that it should have.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7, which use the reentrant kind of torch's
checkpointing. With it DDP raises "Expected to mark a variable ready only once", a block whose input
has no gradient gets none, and a sharded network was seen to get other gradients. It can go when
mmengine passes ``use_reentrant=False``.
"""

from functools import partial

import mmengine.runner.runner
from torch import nn
from torch.utils.checkpoint import checkpoint


def turn_on_activation_checkpointing(model: nn.Module, modules: str | list[str]) -> None:
    """Let modules of a model compute their activations again in the backward pass.

    Args:
        model: It is not wrapped.
        modules: Dotted names; a list such as ``backbone.layers`` stands for all of its members.

    Raises:
        ValueError: The model has no module of a name.
    """
    for name in [modules] if isinstance(modules, str) else modules:
        try:
            found = model.get_submodule(name)
        except AttributeError as error:
            raise ValueError(f'activation_checkpointing, {name}: {error}') from None
        # A list is never called itself.
        for module in found if isinstance(found, nn.ModuleList) else [found]:
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)


def checkpoint_without_reentry() -> None:
    """Put the function of this module in the place of mmengine's."""
    mmengine.runner.runner.turn_on_activation_checkpointing = turn_on_activation_checkpointing
