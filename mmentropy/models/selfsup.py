"""The algorithms: views in, dict of scalars out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MessageHub
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import BELOW_ONE, is_number, or_none, require
from mmentropy.distributed import all_sum
from mmentropy.models.ema import ForeachEMA
from mmentropy.models.heads import mean_terms
from mmentropy.models.losses import errors_kept, widened


def check_views(name: str, views: list[Tensor], exactly_two: bool) -> None:
    """Raise ``ValueError`` unless ``views`` is a list of enough views."""
    count = len(views) if isinstance(views, (list, tuple)) else 1
    if count < 2 or exactly_two and count > 2:
        wanted = 'two' if exactly_two else 'at least two'
        raise ValueError(
            f'{name} needs {wanted} views of each image, got {count}; let the '
            'pipeline make them: dict(type="MultiView", num_views=[2], ...)'
        )


@contextmanager
def named_errors(name: str) -> Iterator[list[FloatingPointError]]:
    """Say in which method and iteration a number ceased to be finite.

    Yields:
        What the loss modules found, for :func:`over_ranks` to raise.
    """
    try:
        with errors_kept() as errors:
            yield errors
    except FloatingPointError as error:
        step = MessageHub.get_current_instance().get_info('iter')
        where = '' if step is None else f' at iteration {step + 1}'
        raise FloatingPointError(f'{name}{where}: {error}') from None


def over_ranks(terms: dict[str, Tensor], errors: list[FloatingPointError]) -> dict[str, Tensor]:
    """Each term averaged over ranks; ``loss`` keeps this rank's gradient.

    So every rank logs the loss of the whole batch, and all ranks raise where
    one of them has something that is not finite.

    Args:
        terms: Of this rank.
        errors: Of this rank.

    Raises:
        FloatingPointError: The first of ``errors``; or names the terms that
            are not finite, and the ranks with errors.
    """
    world_size = get_world_size()
    local = torch.stack([value.detach() for value in terms.values()])
    faults = local.new_zeros(world_size)
    if errors:
        faults[get_rank()] = 1
    mean, faults = (all_sum(torch.cat([local, faults])) / world_size).split(
        [len(terms), world_size]
    )
    if not torch.isfinite(mean).all() & ~faults.any():
        if errors:
            raise errors[0]
        bad = ', '.join(
            f'{key} is {float(value)}'
            for key, value in zip(terms, mean)
            if not torch.isfinite(value)
        )
        ranks = faults.nonzero().flatten().tolist()
        where = (
            f'the features of rank {ranks[0]} are not finite'
            if ranks
            else 'although all features are finite: the objective overflowed'
        )
        raise FloatingPointError(
            ', '.join(filter(None, [bad, where])) + '; lower the learning '
            'rate or check the hyper-parameters of the loss'
        )
    return {
        key: value + (average - value.detach())
        for (key, value), average in zip(terms.items(), mean)
    }


def check_parts(model: BaseSelfSupervisor) -> None:
    """Raise ``ValueError`` unless the model has a neck and a head."""
    for name in ('neck', 'head'):
        if getattr(model, name, None) is None:
            raise ValueError(f'{type(model).__name__} needs a {name}')


def ema_of(model: BaseSelfSupervisor, base_momentum: float | None) -> ForeachEMA | None:
    """An averaged copy of backbone and neck, or None for none."""
    if base_momentum is None:
        return None
    if not is_number(base_momentum) or not 0 < base_momentum < 1:
        raise ValueError(
            'base_momentum is 1 - the EMA coefficient, in (0, 1),'
            f' or None for no EMA; got {base_momentum!r}'
        )
    return ForeachEMA(nn.Sequential(model.backbone, model.neck), momentum=base_momentum)


def project(model: BaseSelfSupervisor, views: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Online projections of all views, targets of the two global ones.

    The EMA, if ``model.target_net`` is one, moves before it is used: its
    first move copies the online network. Without it the targets are the
    detached projections themselves.

    Args:
        views: (N, C, H, W) each, of any size; the first two are global.
    """
    z = [model.neck(model.backbone(x))[0] for x in views]
    with torch.no_grad():
        if model.target_net is None:
            return z, [z[0].detach(), z[1].detach()]
        model.target_net.update_parameters(nn.Sequential(model.backbone, model.neck))
        return z, [model.target_net(x)[0] for x in views[:2]]


def compare(head: nn.Module, z: list[Tensor], t: list[Tensor], **kwargs) -> dict[str, Tensor]:
    """Mean terms of every view against the target of each other view."""
    return mean_terms(
        [head.loss(z[i], t[j], **kwargs) for j in range(len(t)) for i in range(len(z)) if i != j]
    )


@MODELS.register_module()
class MEC(BaseSelfSupervisor):
    """Maximum entropy coding, arXiv 2210.11464.

    Online projections of all views against the targets of the two global
    ones, averaged over the pairs of different views.

    Args:
        base_momentum: 1 - the EMA coefficient of the target network, in
            (0, 1), annealed to 0 by a cosine (0.004: 0.996 to 1). Its
            parameters are averaged, its batch statistics are its own. None:
            no target network, the projections are detached instead.
        kwargs: See ``BaseSelfSupervisor``.
    """

    def __init__(self, base_momentum: float | None = 0.004, **kwargs) -> None:
        super().__init__(**kwargs)
        check_parts(self)
        self.target_net = ema_of(self, base_momentum)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Loss and metrics of a batch.

        Args:
            inputs: Two global views, then any number of local crops, each
                (N, C, H, W).
            data_samples: Unused.

        Returns:
            ``loss``, ``coding_length`` and ``spectral_norm``.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        check_views('MEC', inputs, exactly_two=False)
        with named_errors('MEC') as errors:
            return over_ranks(compare(self.head, *project(self, inputs)), errors)


@MODELS.register_module()
class ER(BaseSelfSupervisor):
    """Entropy and reconstruction, arXiv 2307.10907.

    Symmetric without an EMA (SimCLR+ER); with one, online against target
    (BYOL+ER with a predictor and the sphere, DINO+ER with prototypes and the
    simplex).

    Args:
        base_momentum: See :class:`MEC`; None for the symmetric form.
        kwargs: See ``BaseSelfSupervisor``.
    """

    def __init__(self, base_momentum: float | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        check_parts(self)
        self.target_net = ema_of(self, base_momentum)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Loss and metrics of a batch.

        Args:
            inputs: Two views, each (N, C, H, W); with an EMA any number of
                local crops may follow.
            data_samples: Unused.

        Returns:
            ``loss``, ``entropy`` and ``reconstruction``.

        Raises:
            ValueError: Wrong number of views.
            FloatingPointError: A term is not finite.
        """
        symmetric = self.target_net is None
        check_views('ER', inputs, exactly_two=symmetric)
        with named_errors('ER') as errors:
            if not symmetric:
                return over_ranks(compare(self.head, *project(self, inputs), distill=True), errors)
            z1, z2 = (self.neck(self.backbone(x))[0] for x in inputs)
            return over_ranks(mean_terms([self.head.loss(z1, z2)]), errors)


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """Self-distillation with prototypes, arXiv 2104.14294.

    Online assignments of all views against the targets of the two global
    ones. With ``DINOLoss`` it is the baseline of DINO+ER, with ``ERLoss`` on
    the simplex DINO+ER itself.

    Args:
        base_momentum: See :class:`MEC`; not None.
        center_momentum: Of the running mean of the targets' logits over all
            ranks, which is subtracted from them, in [0, 1); 0.9 in the paper.
            None: no centring, with which ``DINOLoss`` collapses.
        kwargs: See ``BaseSelfSupervisor``; the neck is a ``PrototypeNeck``.
    """

    def __init__(
        self, base_momentum: float = 0.004, center_momentum: float | None = 0.9, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        check_parts(self)
        # None: no centring.
        require(or_none(BELOW_ONE), center_momentum=center_momentum)
        if base_momentum is None:
            raise ValueError('DINO needs a target network: base_momentum in (0, 1)')
        self.target_net = ema_of(self, base_momentum)
        self.center_momentum = center_momentum
        if center_momentum is not None:
            self.register_buffer('center', torch.zeros(self.neck.num_prototypes))

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Loss and metrics of a batch.

        Args:
            inputs: Two global views, then any number of local crops, each
                (N, C, H, W).
            data_samples: Unused.

        Returns:
            ``loss``, ``entropy`` and ``reconstruction``.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        check_views('DINO', inputs, exactly_two=False)
        with named_errors('DINO') as errors:
            z, t = project(self, inputs)
            return over_ranks(compare(self.head, z, self._centred(t), distill=True), errors)

    @torch.no_grad()
    def _centred(self, targets: list[Tensor]) -> list[Tensor]:
        if self.center_momentum is None:
            return targets
        targets = [widened(t) for t in targets]
        centred = [t - self.center for t in targets]
        # The centre of this batch serves the next.
        mean = all_sum(torch.cat(targets).mean(0)) / get_world_size()
        self.center.lerp_(mean, 1 - self.center_momentum)
        return centred


@MODELS.register_module()
class MinEnt(BaseSelfSupervisor):
    """Minimum entropy, Pattern Recognition 138 (2023) 109364.

    The neck pools, the head projects: no EMA, predictor or negatives.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        check_parts(self)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Loss and metrics of a batch.

        Args:
            inputs: Two views, each (N, C, H, W).
            data_samples: Unused.

        Returns:
            ``loss`` and ``target_entropy``.

        Raises:
            ValueError: Not two views.
            FloatingPointError: A term is not finite.
        """
        check_views('MinEnt', inputs, exactly_two=True)
        with named_errors('MinEnt') as errors:
            f1, f2 = (self.neck(self.backbone(x))[0] for x in inputs)
            return over_ranks(self.head.loss(f1, f2), errors)
