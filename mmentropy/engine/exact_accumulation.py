"""The exact gradient of a large batch, with the memory of a small one.

These objectives couple the images of a batch, so that a mean over small batches is another
objective. Here the encoder, backbone and neck, takes the batch in parts and keeps nothing but the
projections; the objective sees all of them at once; in the backward pass each part goes through the
encoder once more, with the same random numbers, and takes its share of the gradient (activation
checkpointing of the whole encoder, part by part; GradCache, arXiv 2101.06983).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseAveragedModel
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.checkpoint import checkpoint

# The attribute of an algorithm with the number of parts that it encodes its batches in.
PARTS = 'parts'


class Deferred:
    """What the backbone would give for images (N, C, H, W), which are encoded when the neck asks.

    Whatever else is done with it raises ``ValueError``.
    """

    def __init__(self, images: Tensor, algorithm: str) -> None:
        self.images = images
        self.algorithm = algorithm

    def refuse(self, *args: Any, **kwargs: Any) -> Any:
        """Raise, because features that do not go through the neck alone would be kept."""
        raise ValueError(
            f'exact accumulation needs an algorithm whose neck takes what its backbone gives, and '
            f'{self.algorithm} does something else with it: leave ExactAccumulationHook out'
        )

    __getitem__ = __iter__ = __len__ = refuse

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = next(x for x in torch.utils._pytree.tree_leaves(args) if isinstance(x, cls))
        return found.refuse()


class AccumulatesExactly:
    """What ``ExactAccumulationHook`` puts in front of an algorithm's class."""

    # The number of parts that a batch is encoded in.
    parts: int

    def loss(self, inputs: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        with encoded_in_parts(self, self.parts):  # type: ignore[arg-type]
            return super().loss(inputs, *args, **kwargs)  # type: ignore[misc]


def accumulate_exactly(model: BaseSelfSupervisor, parts: int) -> None:
    """Let a built algorithm encode its batches in parts, from now on.

    Args:
        model: A self-supervised algorithm, or one that does so already, whose parts change.
        parts: >= 1.

    Raises:
        ValueError: It is something else, or has no neck.
    """
    kind = type(model)
    if isinstance(model, FSDPModule):
        raise ValueError(
            'exact accumulation does not work with a ShardedRunner, which puts an encoder together '
            'block by block: leave one of them out; activation_checkpointing saves memory, too'
        )
    if getattr(model, 'neck', None) is None or not isinstance(model, BaseSelfSupervisor):
        raise ValueError(
            'exact accumulation needs a self-supervised algorithm with a neck, got '
            f'{kind.__name__}: leave ExactAccumulationHook out'
        )
    if isinstance(model, AccumulatesExactly):
        kind = kind.__mro__[2]
    model.__class__ = type(kind.__name__, (AccumulatesExactly, kind), {PARTS: parts})


@contextmanager
def encoded_in_parts(model: BaseSelfSupervisor, parts: int) -> Iterator[None]:
    """Let the backbone, the neck and averaged copies of both take batches in parts."""
    encoder = EncoderInParts(model, parts)
    averaged = [m.module for m in model.children() if isinstance(m, BaseAveragedModel)]
    replaced = {model.backbone: encoder.defer, model.neck: encoder.project}
    replaced |= {module: partial(without_gradient, module.forward, parts) for module in averaged}
    # Activation checkpointing has replaced it already.
    before = {module: vars(module).get('forward') for module in replaced}
    for module, forward in replaced.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward


class EncoderInParts:
    """Backbone and neck of an algorithm, part by part of a batch.

    The backbone is called as a module in the first pass, so that its forward hooks see the features
    of each part, and not in the second. Hooks of the neck see the projections of all.
    """

    def __init__(self, model: BaseSelfSupervisor, parts: int) -> None:
        self.model = model
        self.parts = parts
        self.backbone = model.backbone.forward
        self.neck = model.neck.forward
        self.encoding = False

    def defer(self, images: Tensor) -> Any:
        """Stand in for the backbone's ``forward``."""
        if self.encoding:
            return self.backbone(images)
        return Deferred(images, type(self.model).__name__)

    def project(self, features: Any) -> Any:
        """Stand in for the neck's ``forward``."""
        if not isinstance(features, Deferred):
            return Deferred(features, type(self.model).__name__).refuse()
        outputs = []
        for part in features.images.tensor_split(self.parts):
            if len(part):
                outputs.append(self.encode(part) if torch.is_grad_enabled() else self.first(part))
        return joined(outputs)

    def encode(self, part: Tensor) -> Any:
        """Encode a part, whose activations are computed again in the backward pass."""
        return checkpoint(self.run, part, use_reentrant=False, context_fn=self.passes)

    def passes(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """Return what is around the first and the second pass of a part."""
        return self.first_pass(), buffers_kept(self.model.backbone, self.model.neck)

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Let the backbone be called, with its hooks."""
        self.encoding = True
        try:
            yield
        finally:
            self.encoding = False

    def run(self, part: Tensor) -> Any:
        """Give the projections of a part."""
        return self.neck(self.model.backbone(part) if self.encoding else self.backbone(part))

    def first(self, part: Tensor) -> Any:
        """Give the projections of a part, of which there is no second pass."""
        with self.first_pass():
            return self.run(part)


def without_gradient(forward: Any, parts: int, images: Tensor) -> Any:
    """Run ``forward`` part by part of a batch; with gradient it gets the batch as it is."""
    if torch.is_grad_enabled():
        return forward(images)
    return joined([forward(part) for part in images.tensor_split(parts) if len(part)])


def joined(outputs: list[Any]) -> Any:
    """Put the rows of parts together; each output is a tensor, or a tuple or list of tensors."""
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    return type(outputs[0])(torch.cat(rows) for rows in zip(*outputs, strict=True))


@contextmanager
def buffers_kept(*modules: nn.Module) -> Iterator[None]:
    """Put running statistics back, which the first pass has moved already."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before):
                buffer.copy_(value)
