r"""Matrix information theory for self-supervised learning (Matrix-SSL), arXiv 2305.17326.

.. math:: L = -\mathrm{tr}\left[\lambda \log_n(C_{tp} + \mu I) + \gamma \,
          (C_{tt} + \mu I) \log_n(C_{pp} + \mu I)\right], \quad
          C_{ab} = \frac{1}{N} A^\top J B

p are predictions and t targets, rows of unit length of all ranks, J = I - 11^T / N centres them,
and :math:`\log_n(Q) = \sum_{k=1}^{n} \frac{(-1)^{k+1}}{k} (Q - I)^k` is the series of the matrix
logarithm. The first term is the uniformity, log det of a product as in MEC, but centred and not
scaled. The second is the alignment, a cross-entropy of both covariances.

The authors' code has an option ``align_gamma`` of 0.003 that nothing reads; the weight of the
alignment is ``gamma``.

Source:
    arXiv 2305.17326; yifanzhang-pro/Matrix-SSL@b8164df:main_pretrain.py#L381-L385, #L423-L463,
    where ``p`` is the target and ``z`` the prediction.
"""

from typing import Any

import torch
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import COUNT, NOT_NEGATIVE, POSITIVE, require
from mmentropy.checks.tensors import check_pair
from mmentropy.distributed import gather
from mmentropy.functional.coding import (
    cross_gram,
    log_det_taylor,
    matrix_log_taylor,
    second_moment,
)
from mmentropy.functional.sphere import unit_rows
from mmentropy.models.base import (
    ema_of,
    in_full_precision,
    mean_over_pairs,
    mean_over_ranks,
    project,
    target_projections,
)


@MODELS.register_module()
class MatrixSSLLoss(BaseModule):
    """The loss of Matrix-SSL.

    Args:
        uniformity: lambda >= 0; 1 in the authors' command, 0.5 the default of their code. With 0
            and ``alignment=0`` nothing is trained.
        alignment: gamma >= 0.
        mu: Added to the eigenvalues, > 0; as lambda.
        taylor_order: n >= 1.
    """

    def __init__(
        self,
        uniformity: float = 1.0,
        alignment: float = 1.0,
        mu: float = 1.0,
        taylor_order: int = 4,
    ) -> None:
        super().__init__()
        require(NOT_NEGATIVE, uniformity=uniformity, alignment=alignment)
        require(POSITIVE, mu=mu)
        require(COUNT, taylor_order=taylor_order)
        self.uniformity = uniformity
        self.alignment = alignment
        self.mu = mu
        self.taylor_order = taylor_order

    @in_full_precision
    def forward(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare predictions with their targets.

        Args:
            pred: (N, D) local rows of any length.
            target: (N, D) likewise. Gradient flows into it too, so detach it.

        Returns:
            Scalars: ``loss``, with gradient; without it both traces before they are weighted,
            ``uniformity`` and ``alignment``.

        Raises:
            ValueError: Shapes differ.
        """
        check_pair(pred=pred, target=target)
        p, t = (gather(unit_rows(z)) for z in (pred, target))
        p, t = p - p.mean(dim=0), t - t.mean(dim=0)
        n, order = len(p), self.taylor_order
        # Only a series without a constant has the same trace for both products.
        product = cross_gram(p, t) if self.mu == 1 else t.T @ p
        uniformity = log_det_taylor(shifted(product / n, self.mu - 1), order)
        log = matrix_log_taylor(shifted(second_moment(p) / n, self.mu - 1), order)
        # The trace of a product of symmetric matrices.
        alignment = torch.vdot(shifted(second_moment(t) / n, self.mu).flatten(), log.flatten())
        return dict(
            loss=-self.uniformity * uniformity - self.alignment * alignment,
            uniformity=uniformity.detach(),
            alignment=alignment.detach(),
        )


def shifted(c: Tensor, shift: float) -> Tensor:
    """C + shift I; C itself is not needed any more."""
    c.diagonal().add_(shift)
    return c


@MODELS.register_module()
class MatrixSSL(BaseSelfSupervisor):
    """Matrix-SSL: online projections of all views against the targets of the two global ones.

    Args:
        base_momentum: See :class:`~mmentropy.models.mec.MEC`.
        kwargs: See ``BaseSelfSupervisor``; the head is a ``PredictorHead``.
    """

    def __init__(self, base_momentum: float | None = 0.004, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_net = ema_of(self, base_momentum)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss``, ``uniformity`` and ``alignment`` of a batch.

        Args:
            inputs: Two global views, then any number of local crops, each (N, C, H, W).
            data_samples: Unused.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        z = project(self, inputs)
        targets = z[:2] if self.target_net is None else target_projections(self, inputs[:2])
        terms = mean_over_pairs(self.head, z, targets)
        return mean_over_ranks('MatrixSSL', terms, z + targets)
