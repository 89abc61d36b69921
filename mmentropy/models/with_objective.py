"""An objective of this package as a regulariser of any algorithm that projects views."""

from itertools import combinations
from typing import Any

from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import DICT, POSITIVE, TEXT, require
from mmentropy.models.base import check_views, mean_over_ranks, mean_terms
from mmentropy.models.er import ERLoss
from mmentropy.models.mec import MECLoss

# Objectives of two views; of more, their mean over pairs is taken.
PAIRWISE = (MECLoss, ERLoss)


def view_projections(outputs: list[Tensor], views: int, rows: int) -> list[Tensor]:
    """Return the projections (N, D) of all views of N = ``rows`` images.

    The neck gave one (N, D) per view, or one (V N, D) with the views of an image in neighbouring
    rows, as SimCLR has it; anything else, such as views of two sizes that ``JointEmbedding`` passes
    on together, raises ``ValueError``.
    """
    if [len(z) for z in outputs] == [rows] * views:
        return outputs
    if [len(z) for z in outputs] == [views * rows]:
        return [outputs[0][view::views] for view in range(views)]
    raise ValueError(
        f'the regulariser needs the projections of {views} views of {rows} images, but the neck '
        f'gave {[tuple(z.shape) for z in outputs]}'
    )


class _WithObjective:
    """What ``WithObjective`` puts in front of an algorithm's class."""

    # The name of the objective in the state dict and in the log.
    part = 'objective'
    neck: nn.Module

    def __init__(self, objective: dict, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        setattr(self, self.part, MODELS.build(objective))
        self.weight = weight

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        check_views(self, inputs)  # type: ignore[arg-type]
        outputs: list[Tensor] = []
        hook = self.neck.register_forward_hook(lambda *call: outputs.append(call[2][0]))
        try:
            losses = super().loss(inputs, data_samples, **kwargs)  # type: ignore[misc]
        finally:
            hook.remove()
        objective = getattr(self, self.part)
        views = view_projections(outputs, len(inputs), len(inputs[0]))
        groups = combinations(views, 2) if isinstance(objective, PAIRWISE) else [views]
        terms = mean_terms(objective(*group) for group in groups)
        terms = mean_over_ranks(type(self).__name__, terms, views)
        if isinstance(objective, MECLoss):
            objective.warn_of_divergence(terms['spectral_norm'])
        # mmengine logs the sum of all as `loss`: no part may have that name.
        losses['loss_main'] = losses.pop('loss')
        losses[f'loss_{self.part}'] = self.weight * terms.pop('loss')
        # The algorithm may have a metric of the same name.
        metrics = {f'{self.part}_{name}' if name in losses else name: terms[name] for name in terms}
        return losses | metrics


class _WithMEC(_WithObjective):
    """What ``WithMEC`` puts in front of an algorithm's class."""

    part = 'mec'


@MODELS.register_module()
def WithObjective(
    algorithm: str, objective: dict, weight: float = 1.0, **kwargs: Any
) -> BaseSelfSupervisor:
    """An algorithm of mmpretrain with an objective of its projections as regulariser.

    ``loss_main`` is the algorithm's own loss, ``loss_objective`` the weighted term; gradient flows
    into the projections of all views. State dict and all else are the algorithm's, but for the
    state of the objective. A metric of the objective whose name the algorithm has already begins
    with ``objective_``.

    Args:
        algorithm: Registered name: SimCLR, SimSiam, BYOL, BarlowTwins, ...
        objective: Config of a loss module that takes the projections of all views: ``MECLoss`` and
            ``ERLoss``, of which the mean over pairs is taken, ``VICRegLoss``, ``EMPSSLLoss``,
            ``IVNELoss``, ``FroSSLLoss``, ``MMCRLoss``, ``CorInfoMaxLoss``, ``INTLLoss``,
            ``LeJEPALoss``.
        weight: Weight > 0 of the regulariser.
        kwargs: Arguments of the algorithm.

    Raises:
        ValueError: Unknown algorithm, ``weight`` out of range; in training, fewer than two views,
            or an algorithm whose neck does not project all views, one view after the other or all
            in one batch of one size.
    """
    return regularized(_WithObjective, algorithm, objective, weight, kwargs)


@MODELS.register_module()
def WithMEC(algorithm: str, mec: dict, weight: float = 1.0, **kwargs: Any) -> BaseSelfSupervisor:
    """:func:`WithObjective` with MEC, as in its paper.

    The weighted term is called ``loss_mec``.

    Args:
        algorithm: See :func:`WithObjective`.
        mec: Config of ``MECLoss``.
        weight: Weight > 0 of the regulariser; the paper does not give it.
        kwargs: Arguments of the algorithm.

    Source:
        arXiv 2210.11464, section 3.4, figure 5.
    """
    require(DICT, mec=mec)
    return regularized(_WithMEC, algorithm, mec, weight, kwargs)


def regularized(
    front: type[_WithObjective], algorithm: str, objective: dict, weight: float, kwargs: dict
) -> BaseSelfSupervisor:
    """Build an algorithm with ``front`` before its class."""
    require(TEXT, algorithm=algorithm)
    require(DICT, objective=objective)
    base = MODELS.get(algorithm)
    if not isinstance(base, type) or not issubclass(base, BaseSelfSupervisor):
        raise ValueError(f'algorithm {algorithm!r} is no self-supervised algorithm of mmpretrain')
    require(POSITIVE, weight=weight)
    name = algorithm + front.__name__.removeprefix('_')
    cls = type(name, (front, base), dict(__module__=__name__))
    return cls(objective=objective, weight=weight, **kwargs)
