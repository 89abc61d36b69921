"""MEC as a regulariser of any algorithm that projects two views."""

from typing import Any

from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import DICT, POSITIVE, TEXT, require
from mmentropy.models.base import mean_over_ranks, mean_terms


def two_projections(outputs: list[Tensor], rows: int) -> tuple[Tensor, Tensor]:
    """Return the projections (N, D) of both views of N = ``rows`` images.

    The neck gave one (N, D) per view, or one (2 N, D) with the views of an image in neighbouring
    rows, as SimCLR has it; anything else raises ``ValueError``.
    """
    if [len(z) for z in outputs] == [rows, rows]:
        return outputs[0], outputs[1]
    if [len(z) for z in outputs] == [2 * rows]:
        return outputs[0][::2], outputs[0][1::2]
    raise ValueError(
        'MEC regularises two projections per image, but the neck gave '
        f'{[tuple(z.shape) for z in outputs]} for {rows} images'
    )


class _Regularized:
    """What ``WithMEC`` puts in front of an algorithm's class."""

    neck: nn.Module

    def __init__(self, mec: dict, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mec = MODELS.build(mec)
        self.weight = weight

    def loss(
        self, inputs: list[Tensor], data_samples: list | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        outputs: list[Tensor] = []
        hook = self.neck.register_forward_hook(lambda *call: outputs.append(call[2][0]))
        try:
            losses = super().loss(inputs, data_samples, **kwargs)  # type: ignore[misc]
        finally:
            hook.remove()
        views = two_projections(outputs, len(inputs[0]))
        terms = mean_over_ranks(type(self).__name__, mean_terms([self.mec(*views)]), list(views))
        self.mec.warn_of_divergence(terms['spectral_norm'])
        # mmengine logs the sum of all as `loss`: no part may have that name.
        losses['loss_main'] = losses.pop('loss')
        losses['loss_mec'] = self.weight * terms.pop('loss')
        return losses | terms


@MODELS.register_module()
def WithMEC(algorithm: str, mec: dict, weight: float = 1.0, **kwargs: Any) -> BaseSelfSupervisor:
    """An algorithm of mmpretrain with MEC of its projections as regulariser.

    ``loss_main`` is the algorithm's own loss, ``loss_mec`` the weighted term; gradient flows into
    the projections of both views. State dict and all else are the algorithm's.

    Args:
        algorithm: Registered name: SimCLR, SimSiam, BYOL, BarlowTwins, ...
        mec: Config of ``MECLoss``.
        weight: Weight > 0 of the regulariser; the paper does not give it.
        kwargs: Arguments of the algorithm.

    Raises:
        ValueError: Unknown algorithm, or one that does not project two views by its neck;
            ``weight`` out of range.

    Source:
        arXiv 2210.11464, section 3.4, figure 5.
    """
    require(TEXT, algorithm=algorithm)
    require(DICT, mec=mec)
    base = MODELS.get(algorithm)
    if not isinstance(base, type) or not issubclass(base, BaseSelfSupervisor):
        raise ValueError(f'algorithm {algorithm!r} is no self-supervised algorithm of mmpretrain')
    require(POSITIVE, weight=weight)
    cls = type(f'{algorithm}WithMEC', (_Regularized, base), dict(__module__=__name__))
    return cls(mec=mec, weight=weight, **kwargs)
