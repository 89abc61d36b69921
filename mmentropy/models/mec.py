r"""Maximum entropy coding (MEC), arXiv 2210.11464.

.. math:: L = -\frac{1}{\lambda m} \mathrm{tr} \sum_{k=1}^{n}
          \frac{(-1)^{k+1}}{k} (\lambda C)^k, \quad C = P T^\top, \quad
          \lambda = \frac{1}{m \epsilon_d^2}

The sum is :math:`\log\det(I + \lambda C)` cut after n terms, the coding length of the batch. P
holds the predictions and T the targets of all m images as rows of unit length, :math:`\epsilon_d^2`
is the distortion per dimension. The scale is the official code's: for n = 1 the loss is minus the
mean cosine similarity. Batches are those of all ranks together.

Source:
    arXiv 2210.11464, eq. 3; xinliu20/MEC@35045dc:main_pretrain.py#L337-L390, where ``z`` is the
    prediction and ``p`` the target.
"""

import logging
from typing import Any

from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import (
    COUNT,
    FLAG,
    POSITIVE,
    POSITIVE_SHARE,
    Rule,
    is_number,
    require,
)
from mmentropy.checks.tensors import check_pair
from mmentropy.distributed import all_sum, gather
from mmentropy.functional.coding import cross_gram, log_det_exact, log_det_taylor, spectral_norm
from mmentropy.functional.sphere import unit_rows
from mmentropy.models.base import (
    SHARE_OF_TRAINING,
    ema_of,
    in_full_precision,
    mean_over_pairs,
    mean_over_ranks,
    project,
    target_projections,
    warmed_up,
)

FACTOR = Rule('a number >= 1', lambda x: is_number(x) and x >= 1)


def cross_gram_of_ranks(pred: Tensor, target: Tensor) -> Tensor:
    """:func:`~mmentropy.functional.coding.cross_gram` of local rows (N, D), as many on each rank.

    It has the side min(W N, D), and is the same on each of the W ranks. Gradient flows into both
    arguments.
    """
    if len(pred) * get_world_size() <= pred.size(1):
        return cross_gram(gather(pred), gather(target))
    return all_sum(target.T @ pred)


@MODELS.register_module()
class MECLoss(BaseModule):
    r"""The loss of MEC, with a guard that keeps its series convergent.

    The series converges where all eigenvalues of :math:`\lambda C` are below 1 in size, which a
    spectral norm below 1 ensures. Beyond that the loss can fall without bound: C is not symmetric,
    and powers of its complex eigenvalues grow with either sign. The norm of the matrix in use, the
    smaller of :math:`P T^\top` and :math:`T^\top P`, is therefore estimated at every step, and
    ``guard`` says what happens above ``max_norm``. With ``exact`` the guard keeps the determinant
    positive.

    Args:
        distortion: :math:`\epsilon_d^2 > 0` per dimension; 0.06 in the paper, 0.03125 in the
            official code.
        taylor_order: n >= 1.
        exact: Use :math:`\log\det(I + \lambda C)` in place of the series.
        warmup: Share of training, in [0, 1], over which :math:`1 / \lambda` falls linearly from
            ``warmup_factor`` times its value. Outside a Runner :math:`\lambda` has its final value.
        warmup_factor: At least 1.
        guard: ``True`` lowers :math:`\lambda` for this step as far as keeps the norm at
            ``max_norm``, as a larger distortion would; ``False`` leaves the series as it is.
        max_norm: In (0, 1]. Below 1 it leaves room for the estimate, which is never above the norm.
    """

    def __init__(
        self,
        distortion: float = 0.06,
        taylor_order: int = 4,
        exact: bool = False,
        warmup: float = 0.0,
        warmup_factor: float = 8.0,
        guard: bool = True,
        max_norm: float = 0.9,
    ) -> None:
        super().__init__()
        require(POSITIVE, distortion=distortion)
        require(COUNT, taylor_order=taylor_order)
        require(FLAG, exact=exact, guard=guard)
        require(SHARE_OF_TRAINING, warmup=warmup)
        require(FACTOR, warmup_factor=warmup_factor)
        require(POSITIVE_SHARE, max_norm=max_norm)
        self.distortion = distortion
        self.taylor_order = taylor_order
        self.exact = exact
        self.warmup = warmup
        self.warmup_factor = warmup_factor
        self.guard = guard
        self.max_norm = max_norm
        self._warned = False

    @in_full_precision
    def forward(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare predictions with their targets.

        Args:
            pred: (N, D) local rows of any length.
            target: (N, D) likewise. Gradient flows into it too, so detach it.

        Returns:
            Scalars, the same on every rank: ``loss``, with gradient; ``coding_length``, nats per
            image at the lambda in force; ``spectral_norm`` of lambda C before the guard; with
            ``guard`` also ``guard_active``, 1 if it lowered lambda and 0 if it did not, whose mean
            over pairs of views is logged.

        Raises:
            ValueError: Shapes differ, or there is a single row in all.
            FloatingPointError: With ``exact``, det(I + lambda C) <= 0.
        """
        check_pair(pred=pred, target=target)
        m, d = len(pred) * get_world_size(), pred.size(1)
        if m < 2:
            raise ValueError('MEC compares the images of a batch and needs at least 2, got 1')
        c = cross_gram_of_ranks(unit_rows(pred), unit_rows(target))
        norm = spectral_norm(c)
        # 1 / lambda: lambda falls where this grows.
        lambda_inv = m * self.distortion * self.warmup_scale()
        metrics = dict(spectral_norm=norm / lambda_inv)
        if self.guard:
            metrics['guard_active'] = (norm / self.max_norm > lambda_inv).to(norm.dtype)
            lambda_inv = (norm / self.max_norm).clamp_min(lambda_inv)
        if self.exact:
            length = log_det_exact(c / lambda_inv)
        else:
            length = log_det_taylor(c / lambda_inv, self.taylor_order)
        return dict(
            loss=-lambda_inv / m * length,
            # The whole length is (m + d) / 2 times the log-determinant.
            coding_length=(m + d) / (2 * m) * length.detach(),
            **metrics,
        )

    def warmup_scale(self) -> float:
        """What 1 / lambda is multiplied by at this iteration, >= 1."""
        return warmed_up(self.warmup_factor, 1.0, self.warmup)

    def warn_of_divergence(self, ratio: Tensor) -> None:
        """Warn once, at the first ``spectral_norm`` above 1."""
        if self._warned or ratio <= 1:
            return
        self._warned = True
        found = f'MEC: the spectral norm of lambda C is {float(ratio):.2f}'
        if self.guard:
            equal = f'{self.distortion * float(ratio) / self.max_norm:.3g}'
            message = f'{found}; the guard holds it at {self.max_norm}, as distortion={equal} would'
        else:
            message = (
                f'{found}; above 1 the Taylor series diverges and the loss may fall without '
                'bound: set guard=True or raise distortion above '
                f'{self.distortion * float(ratio):.3g}'
            )
        print_log(message, logger='current', level=logging.WARNING)


@MODELS.register_module()
class MEC(BaseSelfSupervisor):
    """Maximum entropy coding.

    Online projections of all views against the targets of the two global ones, averaged over the
    pairs of different views.

    Args:
        base_momentum: 1 - the EMA coefficient of the target network, in (0, 1), annealed to 0 by a
            cosine (0.004: 0.996 to 1). Its parameters are averaged and its running statistics
            copied; in training its batch norms take the statistics of the batch that it is given.
            None: no target network, the projections are detached instead.
        kwargs: See ``BaseSelfSupervisor``; the head is a ``PredictorHead``.
    """

    def __init__(self, base_momentum: float | None = 0.004, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_net = ema_of(self, base_momentum)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss`` and the metrics of ``MECLoss``.

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
        terms = mean_over_ranks('MEC', terms, [*z, *targets])
        self.head.loss_module.warn_of_divergence(terms['spectral_norm'])
        return terms
