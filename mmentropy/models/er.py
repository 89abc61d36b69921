r"""Entropy and reconstruction (ER), arXiv 2307.10907.

.. math:: L = \underbrace{-\frac{1}{N} \sum_i \log q(z_i' | z_i)}_{
          \text{reconstruction}} - \underbrace{\hat H(Z)}_{\text{entropy}}

Minus the loss is a lower bound on the mutual information of the two views z and z' of an image. On
the sphere q is a von Mises-Fisher density around z and the entropy that of a kernel density of the
batch; on the simplex q is the assignment to K classes and the entropy that of the mean assignment.
In nats.

Source:
    arXiv 2307.10907; apple/ml-entropy-reconstruction@f523f11:entropy_reconstruction.py.
"""

from itertools import combinations
from typing import Any

from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.checks.arguments import FLAG, POSITIVE, one_of, or_none, require
from mmentropy.checks.tensors import check_pair
from mmentropy.distributed import all_sum, gather
from mmentropy.functional.simplex import (
    discrete_entropy,
    discrete_reconstruction,
    target_reconstruction,
)
from mmentropy.functional.sphere import (
    AUTHORS_EPS,
    ESTIMATORS,
    KAPPA,
    sphere_entropy,
    sphere_reconstruction,
    unit_rows,
    vmf_log_normalizer,
)
from mmentropy.models.base import (
    ema_of,
    in_full_precision,
    mean_over_pairs,
    mean_over_ranks,
    mean_terms,
    project,
    target_projections,
)


@MODELS.register_module()
class ERLoss(BaseModule):
    """The reconstruction error minus the entropy.

    Args:
        support: ``'sphere'`` (rows are normalised; vMF kernel density and vMF reconstruction) or
            ``'simplex'`` (rows are logits).
        kappa: Concentration of the vMF density in (0, 1e6]. Sphere only.
        temperature: Divides the logits, > 0. Simplex only.
        target_temperature: The same for a target's logits; None: equal. A lower one sharpens the
            targets, which keeps the assignments from settling on the uniform distribution. Only
            on the simplex, and with a target.
        estimator: ``'plug_in'`` or ``'joe'``, see
            :func:`~mmentropy.functional.sphere.sphere_entropy`. The simplex knows only the first:
            the other one of the released code is smallest there where the entropy is largest.
        gather: Estimate the entropy from the rows of all ranks. If False, as in the paper, each
            rank estimates it from its own rows.
        authors_constant: Use the released code's guard of 1e-7, to compare with the paper's
            figures. On the sphere the values are then no entropies, while the gradient stays the
            same. On the simplex the gradient differs too.
    """

    def __init__(
        self,
        support: str = 'sphere',
        kappa: float = 10.0,
        temperature: float = 0.1,
        target_temperature: float | None = None,
        estimator: str = 'plug_in',
        gather: bool = False,
        authors_constant: bool = False,
    ) -> None:
        super().__init__()
        require(one_of(('sphere', 'simplex')), support=support)
        require(one_of(ESTIMATORS), estimator=estimator)
        require(KAPPA, kappa=kappa)
        require(POSITIVE, temperature=temperature)
        require(or_none(POSITIVE), target_temperature=target_temperature)
        require(FLAG, gather=gather, authors_constant=authors_constant)
        if support == 'simplex' and estimator == 'joe':
            raise ValueError("estimator 'joe' is no entropy on the simplex; use 'plug_in'")
        self.support = support
        self.kappa = kappa
        self.temperature = temperature
        self.target_temperature = target_temperature or temperature
        self.estimator = estimator
        self.gather = gather
        self.authors_constant = authors_constant

    @in_full_precision
    def forward(self, z1: Tensor, z2: Tensor, distill: bool = False) -> dict[str, Tensor]:
        """Compare the two views.

        Args:
            z1: (N, D) local rows of any length; logits on the simplex.
            z2: (N, D) likewise.
            distill: ``z2`` is a target: it is detached, and the entropy is that of ``z1`` alone,
                not the mean of both.

        Returns:
            Scalars ``loss`` = ``reconstruction`` - ``entropy``, ``entropy`` and ``reconstruction``,
            all with gradient.

        Raises:
            ValueError: Shapes differ, fewer than 2 rows, or ``target_temperature`` without a
                target.
        """
        check_pair(z1=z1, z2=z2)
        if (
            self.support == 'simplex'
            and not distill
            and self.target_temperature != self.temperature
        ):
            raise ValueError(
                f'target_temperature={self.target_temperature:g} is that of a target network, '
                'which there is not: leave it out, or set base_momentum'
            )
        if len(z1) < 2:
            raise ValueError(
                'ER estimates the entropy of a batch and needs at least 2 images per rank, got 1'
            )
        if distill:
            z2 = z2.detach()
        compare = self._on_sphere if self.support == 'sphere' else self._on_simplex
        entropies, reconstruction = compare(z1, z2, distill)
        entropy = entropies[0] if distill else 0.5 * (entropies[0] + entropies[1])
        return dict(loss=reconstruction - entropy, entropy=entropy, reconstruction=reconstruction)

    def _on_sphere(self, z1: Tensor, z2: Tensor, distill: bool) -> tuple[list[Tensor], Tensor]:
        """Entropies of the views, or of the first, and their reconstruction."""
        z1, z2 = unit_rows(z1), unit_rows(z2)
        constant = vmf_log_normalizer(z1.size(1), self.kappa, self.authors_constant)
        entropies = [
            sphere_entropy(gather(z) if self.gather else z, self.kappa, self.estimator, constant)
            for z in ((z1,) if distill else (z1, z2))
        ]
        return entropies, sphere_reconstruction(z1, z2, self.kappa, constant)

    def _on_simplex(self, z1: Tensor, z2: Tensor, distill: bool) -> tuple[list[Tensor], Tensor]:
        """Entropies of the views, or of the first, and their reconstruction."""
        eps = AUTHORS_EPS if self.authors_constant else 0.0
        if distill and not eps:
            reconstruction, mean = target_reconstruction(
                z1, z2, self.temperature, self.target_temperature
            )
            return [self._entropy_on_simplex(mean, eps)], reconstruction
        p1 = (z1 / self.temperature).softmax(dim=1)
        p2 = (z2 / self.target_temperature).softmax(dim=1)
        views = (p1,) if distill else (p1, p2)
        entropies = [self._entropy_on_simplex(p, eps) for p in views]
        return entropies, discrete_reconstruction(p1, p2, eps)

    def _entropy_on_simplex(self, p: Tensor, eps: float) -> Tensor:
        """Entropy of the mean assignment, of which (N, K) are those of the images."""
        if self.gather:
            # The mean of all ranks is all it needs.
            p = all_sum(p.mean(dim=0, keepdim=True)) / get_world_size()
        return discrete_entropy(p, eps=eps)


@MODELS.register_module()
class ER(BaseSelfSupervisor):
    """Entropy and reconstruction.

    Symmetric without an EMA (SimCLR+ER); with one, online against target (BYOL+ER with a predictor
    and the sphere, DINO+ER with prototypes and the simplex).

    Args:
        base_momentum: See :class:`~mmentropy.models.mec.MEC`; None for the symmetric form.
        kwargs: See ``BaseSelfSupervisor``; the head is a ``PredictorHead``.
    """

    def __init__(self, base_momentum: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_net = ema_of(self, base_momentum)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss``, ``entropy`` and ``reconstruction`` of a batch.

        Args:
            inputs: Two or more views, each (N, C, H, W). Without an EMA the loss is the mean over
                their pairs; with one, those after the second are local crops without a target.
            data_samples: Unused.

        Raises:
            ValueError: Fewer than two views.
            FloatingPointError: A term is not finite.
        """
        z = project(self, inputs)
        if self.target_net is None:
            predictions = [self.head.predict(view) for view in z]
            pairs = combinations(predictions, 2)
            terms = mean_terms(self.head.loss_module(*pair, distill=False) for pair in pairs)
            return mean_over_ranks('ER', terms, z)
        targets = target_projections(self, inputs[:2])
        terms = mean_over_pairs(self.head, z, targets, distill=True)
        return mean_over_ranks('ER', terms, z + targets)
