r"""Iterative normalisation with trace loss (INTL), arXiv 2305.16789.

.. math:: L = \mathrm{mse}(\hat Z, \hat Z') + \beta (t(\hat Z) + t(\hat Z')), \quad
          t(\hat Z) = \sum_k (\mathrm{var}_k - 1)^2

The projections of each view are whitened by a few Newton iterations, which alone would leave the
loss free to keep small variances; the trace loss draws them to 1. The squared distance is that of
unit rows. Statistics are those of the rows of all ranks. Of more than two views all others are
compared with the first.

Source:
    arXiv 2305.16789; winci-ai/INTL@0aa69af:methods/intl.py, methods/whitening.py#L49-L60,
    methods/base.py.
"""

import math

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import COUNT, NOT_NEGATIVE, one_of, or_none, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import gather
from mmentropy.functional.sphere import unit_rows
from mmentropy.functional.whitening import iterative_whitening
from mmentropy.models.base import in_full_precision

WHITENINGS = ('channel', 'batch')


@MODELS.register_module()
class INTLLoss(BaseModule):
    r"""The loss of INTL, the head of a ``JointEmbedding``.

    Args:
        whitening: ``'channel'`` makes the rows of a batch uncorrelated, over channels, the
            default of the authors' code; ``'batch'`` makes the channels uncorrelated, over rows.
        iterations: Newton iterations >= 1.
        trade_off: beta >= 0. None: the authors' :math:`0.01 (\log_2 K - 3)` for K whitened
            variables, of which there must be at least 8. With 0 the network collapses.
    """

    def __init__(
        self, whitening: str = 'channel', iterations: int = 4, trade_off: float | None = None
    ) -> None:
        super().__init__()
        require(one_of(WHITENINGS), whitening=whitening)
        require(COUNT, iterations=iterations)
        require(or_none(NOT_NEGATIVE), trade_off=trade_off)
        self.whitening = whitening
        self.iterations = iterations
        self.trade_off = trade_off

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch with the first.

        Args:
            views: Two or more tensors (N, D) of local rows; gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``similarity``, the mean cosine of whitened
            rows in [-1, 1], and ``trace``, the mean over views of t >= 0.

        Raises:
            ValueError: Fewer than two views, shapes differ, or too few variables for the authors'
                trade-off.
        """
        check_projections(views)
        samples = [gather(z) for z in views]
        if self.whitening == 'channel':
            samples = [z.T for z in samples]
        white = [iterative_whitening(z, self.iterations) for z in samples]
        traces = [(z.var(dim=0) - 1).square().sum() for z in white]
        rows = [unit_rows(z.T if self.whitening == 'channel' else z) for z in white]
        first, others = rows[0], rows[1:]
        similarity = torch.stack([(first * z).sum(dim=1).mean() for z in others]).mean()
        trace = traces[0] + torch.stack(traces[1:]).mean()
        return dict(
            loss=2 - 2 * similarity + self.weight(white[0].size(1)) * trace,
            similarity=similarity.detach(),
            trace=torch.stack(traces).mean().detach(),
        )

    def weight(self, variables: int) -> float:
        """The trade-off for a number of whitened variables."""
        if self.trade_off is not None:
            return self.trade_off
        if variables < 8:
            raise ValueError(
                f'INTLLoss: the trade-off of the authors is below 0 for {variables} variables '
                '(images of all ranks, or channels): set trade_off, or take 8 or more'
            )
        return 0.01 * (math.log2(variables) - 3)
