r"""Matrix entropies as objectives: I-VNE+, FroSSL and MMCR.

The Gram matrix of a batch, divided by its trace, is a density matrix :math:`\rho` with a Renyi
entropy :math:`S_\alpha` for each order. Three papers maximise one of them:

===========  =====================  ============================================  ================
objective    entropy                of                                            views agree by
===========  =====================  ============================================  ================
I-VNE+       :math:`S_1`            rows of unit length, each view                cosine
FroSSL       :math:`S_2`            columns of unit length, each view             squared distance
MMCR         :math:`S_{1/2}`        means of the unit rows of an image's views    length of means
===========  =====================  ============================================  ================

MMCR minimises :math:`-\|C\|_* = -\|C\|_F \exp(S_{1/2} / 2)`, so that the means are also long, which
they are if the views agree. All statistics are those of the rows of all ranks, but for
``FroSSLLoss(gather=False)``. Gram matrices that are decomposed are in float64: in float32 their
small eigenvalues, squares of singular values, would be rounding, and near a collapse all but one
are small.

Source:
    arXiv 2304.01434, jaeill/CVPR23-VNE@c63961b:vne/__init__.py#L15-L19; arXiv 2310.02903,
    OFSkean/FroSSL@e841c57:solo/losses/frossl.py#L75-L125; arXiv 2303.03307,
    ThomasYerxa/mmcr@fafd3a9:mmcr/imagenet/loss_mmcr.py#L18-L45.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import COUNT, FLAG, NOT_NEGATIVE, or_none, require
from mmentropy.checks.tensors import check_projections
from mmentropy.distributed import gather
from mmentropy.functional.coding import gram
from mmentropy.functional.matrix_entropy import matrix_entropy, nuclear_norm, nuclear_norms
from mmentropy.functional.sphere import unit_columns, unit_rows
from mmentropy.models.base import in_full_precision


@MODELS.register_module()
class IVNELoss(BaseModule):
    r"""I-VNE+: views agree, and the von Neumann entropy is large.

    .. math:: L = -\lambda \, \overline{\cos}(Z, Z') - \frac{1}{2} (S_1(Z) + S_1(Z'))

    The mean over pairs stands for the cosine of more than two views, over those pairs with a global
    view, which come first. It is the head of a ``JointEmbedding``.

    Args:
        invariance: lambda >= 0; 4.16 in the paper, the log of its batch of 64.
        entropy: Weight >= 0 of the entropy; with 0 the network collapses.
        global_views: Number >= 1 of global views; None: all are. The authors' code has 2 of 6.
    """

    def __init__(
        self, invariance: float = 4.16, entropy: float = 1.0, global_views: int | None = None
    ) -> None:
        super().__init__()
        require(NOT_NEGATIVE, invariance=invariance, entropy=entropy)
        require(or_none(COUNT), global_views=global_views)
        self.invariance = invariance
        self.entropy = entropy
        self.global_views = global_views

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch.

        Args:
            views: Two or more tensors (N, D) of local rows of any length; gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``similarity``, the mean cosine in [-1, 1],
            and ``entropy`` in nats, in [0, log min(N, D)].

        Raises:
            ValueError: Fewer than two views, or shapes differ.
        """
        check_projections(views)
        rows = [unit_rows(z) for z in views]
        # The first of a pair comes before the second, so one is global if the first is.
        pairs = [(a, b) for i, a in enumerate(rows[: self.global_views]) for b in rows[i + 1 :]]
        similarity = torch.stack([(a * b).sum(1).mean() for a, b in pairs]).mean()
        entropy = torch.stack([matrix_entropy(gram(gather(z), torch.float64), 1) for z in rows])
        entropy = entropy.mean().to(rows[0].dtype)
        return dict(
            loss=-self.invariance * similarity - self.entropy * entropy,
            similarity=similarity.detach(),
            entropy=entropy.detach(),
        )


@MODELS.register_module()
class FroSSLLoss(BaseModule):
    r"""FroSSL: views agree, and the Frobenius norm of the density matrix is small.

    .. math:: L = \sum_v \left[ \lambda V D \, \mathrm{mse}(X_v, \bar X) - S_2(X_v) \right], \quad
              -S_2(X) = 2 \log \frac{\|X^\top X\|_F}{\mathrm{tr} X^\top X}

    The columns of X are those of the projections divided by their length along the batch. Nothing
    is decomposed. It is the head of a ``JointEmbedding``.

    Args:
        invariance: lambda >= 0.
        entropy: Weight >= 0 of the entropy; with 0 the network collapses.
        gather: The rows are those of all ranks. If False, as in the authors' code, each rank has a
            loss of its own rows, whose invariance is larger for fewer rows.
    """

    def __init__(self, invariance: float = 1.0, entropy: float = 1.0, gather: bool = True) -> None:
        super().__init__()
        require(NOT_NEGATIVE, invariance=invariance, entropy=entropy)
        require(FLAG, gather=gather)
        self.invariance = invariance
        self.entropy = entropy
        self.gather = gather

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch with their mean.

        Args:
            views: Two or more tensors (N, D) of local rows; gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``invariance``, the mean over views of
            V D mse, and ``entropy`` in nats, in [0, log min(N, D)].

        Raises:
            ValueError: Fewer than two views, or shapes differ.
        """
        check_projections(views)
        columns = [unit_columns(gather(z) if self.gather else z) for z in views]
        mean = sum(columns[1:], start=columns[0]) / len(columns)
        weight = len(views) * mean.size(1)
        invariance = weight * torch.stack([F.mse_loss(x, mean) for x in columns]).mean()
        entropy = torch.stack([matrix_entropy(gram(x), 2) for x in columns]).mean()
        return dict(
            loss=len(views) * (self.invariance * invariance - self.entropy * entropy),
            invariance=invariance.detach(),
            entropy=entropy.detach(),
        )


@MODELS.register_module()
class MMCRLoss(BaseModule):
    r"""MMCR: the means of an image's views have a large nuclear norm.

    .. math:: L = -\|C\|_* + \frac{\lambda}{N} \sum_i \|Z_i\|_*

    C (N, D) holds the means of the unit rows of each image's views, Z_i (V, D) the unit rows of
    image i. It is the head of a ``JointEmbedding``. There is no weight whose absence would let it
    collapse: agreement and spread are one term.

    Args:
        local: lambda >= 0.
    """

    def __init__(self, local: float = 0.0) -> None:
        super().__init__()
        require(NOT_NEGATIVE, local=local)
        self.local = local

    @in_full_precision
    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Compare the views of a batch.

        Args:
            views: Two or more tensors (N, D) of local rows of any length; gradient flows into all.

        Returns:
            Scalars: ``loss``, with gradient; without it ``nuclear_norm`` of the means, in
            [0, sqrt(N min(N, D))].

        Raises:
            ValueError: Fewer than two views, or shapes differ.
        """
        check_projections(views)
        rows = torch.stack([unit_rows(z) for z in views], dim=1)
        norm = nuclear_norm(gram(gather(rows.mean(dim=1)), torch.float64)).to(rows.dtype)
        loss = -norm
        if self.local:
            local = nuclear_norms(rows.double()).mean().to(rows.dtype)
            loss = loss + self.local * local
        return dict(loss=loss, nuclear_norm=norm.detach())
