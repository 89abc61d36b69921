"""Loss modules: hyper-parameters, float32, rows of all ranks, formula.

Every loss leaves autocast and computes in float32 (float64 input stays
float64), normalises its input itself, and returns a scalar to be minimised.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as torch_f
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub, print_log
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy import functional as F
from mmentropy.checks.arguments import COUNT, FLAG, Rule, is_number, require
from mmentropy.distributed import all_sum, gather, local_rows
from mmentropy.models.shared_gram import kernel_sums, log_det, transposed_gram

FACTOR = Rule('a number >= 1', lambda x: is_number(x) and x >= 1)
NORM = Rule('a number in (0, 1]', lambda x: is_number(x) and 0 < x <= 1)


def full_precision(**pair: Tensor) -> list[Tensor]:
    """Two named (N, D) tensors of one shape, in at least float32."""
    (name1, x1), (name2, x2) = pair.items()
    F.check_matrix(name1, x1, check_finite=False)
    F.check_matrix(name2, x2, check_finite=False)
    F.check_same_shape(name1, x1, name2, x2)
    return [widened(x1), widened(x2)]


def read(*scalars: Tensor, **inputs: Tensor) -> list[float]:
    """Scalars on the host, which waits for the device once.

    Call it after all collectives: a rank that raised before them would leave
    the others waiting.

    Raises:
        FloatingPointError: A named input is not finite; with
            :func:`errors_kept` it is kept.
    """
    values = [*scalars, *(x.sum() for x in inputs.values())]
    found = torch.stack([x.detach().float() for x in values]).tolist()
    if not all(map(math.isfinite, found)):
        try:
            for name, x in inputs.items():
                F.check_matrix(name, x)
        except FloatingPointError as error:
            if _kept is None:
                raise
            _kept.append(error)
    return found[: len(scalars)]


_kept: list[FloatingPointError] | None = None


@contextmanager
def errors_kept() -> Iterator[list[FloatingPointError]]:
    """What :func:`read` would raise, until all ranks are ready to raise it.

    The loss of another pair of views has collectives of its own.
    """
    global _kept
    before, _kept = _kept, []
    try:
        yield _kept
    finally:
        _kept = before


def widened(x: Tensor) -> Tensor:
    """``x`` in at least float32."""
    return x.float() if x.element_size() < 4 else x


def training_progress() -> float | None:
    """Share of training done, in [0, 1); None outside a Runner's training."""
    hub = MessageHub.get_current_instance()
    step, total = hub.get_info('iter'), hub.get_info('max_iters')
    return None if step is None or not total else step / total


def check_share(**named: float) -> None:
    """Raise ``ValueError`` for a share of training outside [0, 1]."""
    for name, value in named.items():
        if not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ValueError(f'{name} is a share of training in [0, 1], got {value}')


def warmup_left(share: float) -> float:
    """What is left of a linear warm-up over this share of training: 1 to 0."""
    progress = training_progress()
    if progress is None or progress >= share:
        return 0.0
    return 1 - progress / share


@MODELS.register_module()
class MECLoss(BaseModule):
    r"""Maximum entropy coding.

    .. math:: -\frac{1}{\lambda m} \mathrm{tr} \sum_{k=1}^{n}
              \frac{(-1)^{k+1}}{k} (\lambda P T^\top)^k, \quad
              \lambda = \frac{1}{m \epsilon_d^2}

    over the m rows of all ranks, scaled as in the official code: at order 1
    it is minus the mean cosine similarity. Arguments are normalised to unit
    rows; gradient flows into both, so detach the target.

    Outside a spectral norm of :math:`\lambda C` of 1 the series diverges and
    the loss can fall without bound through complex eigenvalues. The norm is
    therefore estimated at every step and logged once when it first exceeds 1;
    ``guard`` says what happens above ``max_norm``.

    Args:
        distortion: :math:`\epsilon_d^2 > 0` per dimension; 0.06 in the paper,
            0.03125 in the official code.
        taylor_order: n >= 1.
        exact: Use :math:`\log\det(I + \lambda C)` in place of the series.
        warmup: Share of training, in [0, 1], over which :math:`1 / \lambda`
            falls linearly from ``warmup_factor`` times its value. A function
            of the iteration alone, so it resumes right. Outside a Runner
            :math:`\lambda` has its final value.
        warmup_factor: >= 1; 8 in the official code.
        guard: ``True`` raises :math:`1 / \lambda` as far as keeps the norm
            at ``max_norm``, as a larger distortion would; ``False`` leaves
            the series as it is.
        max_norm: In (0, 1].

    Source:
        arXiv 2210.11464, eq. 3;
        xinliu20/MEC@35045dc:main_pretrain.py#L337-L390, where ``z`` is the
        prediction and ``p`` the target.
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
        F.check_positive(distortion=distortion)
        require(COUNT, taylor_order=taylor_order)
        require(FLAG, exact=exact, guard=guard)
        check_share(warmup=warmup)
        require(FACTOR, warmup_factor=warmup_factor)
        require(NORM, max_norm=max_norm)
        self.distortion = distortion
        self.taylor_order = taylor_order
        self.exact = exact
        self.warmup = warmup
        self.warmup_factor = warmup_factor
        self.guard = guard
        self.max_norm = max_norm
        self._warned = False

    def warmup_scale(self) -> float:
        """What 1 / lambda is multiplied by at this iteration, >= 1."""
        return 1 + (self.warmup_factor - 1) * warmup_left(self.warmup)

    def terms(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The loss and what it tells about the representation.

        Args:
            pred: (N, D) local rows, un-normalised.
            target: (N, D) likewise.

        Returns:
            Scalars ``loss``; ``coding_length``, nats per image at the
            lambda in force; ``spectral_norm`` of lambda C before the guard.
            The last two carry no gradient.

        Raises:
            ValueError: Shapes differ, or a single row in all.
            FloatingPointError: Non-finite input, or det(I + lambda C) <= 0
                with ``exact``.
        """
        with torch.autocast(pred.device.type, enabled=False):
            pred, target = full_precision(pred=pred, target=target)
            m, d = len(pred) * get_world_size(), pred.size(1)
            if m < 2:
                raise ValueError('MEC compares the images of a batch and needs at least 2, got 1')
            gram = transposed_gram(pred, target)
            norm = F.spectral_norm(gram, check_finite=False)
            lambda_inv = m * self.distortion * self.warmup_scale()
            ratio = norm / lambda_inv
            if self.guard:
                lambda_inv = (norm / self.max_norm).clamp_min(lambda_inv)
            order = None if self.exact else self.taylor_order
            value = log_det(pred, target, gram, lambda_inv, order)
            loss = -lambda_inv / m * value
            _, found = read(loss, ratio, pred=pred, target=target)
            if not self._warned and found > 1:
                self._warn(found)
            return dict(
                loss=loss, coding_length=(m + d) / (2 * m) * value.detach(), spectral_norm=ratio
            )

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of :meth:`terms`."""
        return self.terms(pred, target)['loss']

    def _warn(self, ratio: float) -> None:
        self._warned = True
        norm = f'MEC: the spectral norm of lambda C is {ratio:.2f}'
        if self.guard:
            distortion = self.distortion * ratio / self.max_norm
            message = (
                f'{norm}; the guard holds it at {self.max_norm}, as '
                f'distortion={distortion:.3g} would'
            )
        else:
            message = (
                f'{norm}; above 1 the Taylor series diverges and the '
                'loss may fall without bound: set guard=True or raise '
                f'distortion above {self.distortion * ratio:.3g}'
            )
        print_log(message, logger='current', level=logging.WARNING)


@MODELS.register_module()
class ERLoss(BaseModule):
    """Entropy and reconstruction, a lower bound on mutual information.

    The loss is the reconstruction error minus the entropy, both returned
    apart, in nats.

    Args:
        support: ``'sphere'`` (rows are normalised; vMF kernel density and
            vMF reconstruction) or ``'simplex'`` (rows are logits).
        kappa: Concentration of the vMF density > 0. Sphere only.
        temperature: Divides the logits, > 0. Simplex only.
        target_temperature: The same for a target's logits; None: equal. A
            lower one sharpens the targets, which keeps the assignments from
            settling on the uniform distribution. Simplex only.
        estimator: ``'plug_in'`` or ``'joe'``; the simplex knows only the
            first (see :func:`~mmentropy.functional.discrete_entropy`).
        gather: Estimate the entropy from the rows of all ranks. Off, as in
            the paper: from each rank's own.
        authors_constant: Use the released code's guard of 1e-7, to compare
            with the paper's figures. On the sphere the values are then no
            entropies, while the gradient stays the same.

    Source:
        arXiv 2307.10907;
        apple/ml-entropy-reconstruction@f523f11:entropy_reconstruction.py.
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
        F.check_choice('support', support, ('sphere', 'simplex'))
        F.check_choice('estimator', estimator, F.ESTIMATORS)
        if target_temperature is None:
            target_temperature = temperature
        F.check_positive(
            kappa=kappa, temperature=temperature, target_temperature=target_temperature
        )
        require(FLAG, gather=gather, authors_constant=authors_constant)
        if support == 'simplex' and estimator == 'joe':
            raise ValueError("estimator 'joe' is no entropy on the simplex; use 'plug_in'")
        self.support = support
        self.kappa = kappa
        self.temperature = temperature
        self.target_temperature = target_temperature
        self.estimator = estimator
        self.gather = gather
        self.authors_constant = authors_constant
        self._log_normalizers: dict[int, float] = {}

    def forward(self, z1: Tensor, z2: Tensor, distill: bool = False) -> dict[str, Tensor]:
        """Compare the two views.

        Args:
            z1: (N, D) local rows, un-normalised; logits on the simplex.
            z2: (N, D) likewise.
            distill: ``z2`` is a target: it is detached, and the entropy is
                that of ``z1`` alone, not the mean of both.

        Returns:
            Scalars ``loss`` = ``reconstruction`` - ``entropy``,
            ``entropy`` and ``reconstruction``, all with gradient.

        Raises:
            ValueError: Shapes differ, or fewer than 2 rows.
            FloatingPointError: Non-finite input.
        """
        with torch.autocast(z1.device.type, enabled=False):
            x1, x2 = full_precision(z1=z1, z2=z2)
            if len(x1) < 2:
                raise ValueError(
                    'ER estimates the entropy of a batch and '
                    'needs at least 2 images per rank, got 1'
                )
            z1 = self._to_support(x1, self.temperature)
            if distill:
                z2 = self._to_support(x2.detach(), self.target_temperature)
            else:
                z2 = self._to_support(x2, self.temperature)
            entropy = self._entropy(z1)
            if not distill:
                entropy = 0.5 * (entropy + self._entropy(z2))
            reconstruction = self._reconstruction(z1, z2)
            loss = reconstruction - entropy
            read(loss, z1=x1, z2=x2)
            return dict(loss=loss, entropy=entropy, reconstruction=reconstruction)

    def _to_support(self, z: Tensor, temperature: float) -> Tensor:
        if self.support == 'sphere':
            return F.unit_rows(z)
        return (z / temperature).softmax(dim=1)

    def _entropy(self, z: Tensor) -> Tensor:
        if self.support == 'simplex':
            if self.gather:
                z = all_sum(z.mean(dim=0, keepdim=True)) / get_world_size()
            return F.discrete_entropy(z, self.estimator, self._eps, check_finite=False)
        sums = kernel_sums(z, self.kappa, self.gather)
        if self.gather:
            sums = gather(sums)
        return F.kernel_entropy(sums, self.estimator, self._log_normalizer(z.size(1)))

    def _reconstruction(self, z1: Tensor, z2: Tensor) -> Tensor:
        if self.support == 'sphere':
            return F.sphere_reconstruction(
                z1, z2, self.kappa, self._log_normalizer(z1.size(1)), check_finite=False
            )
        return F.discrete_reconstruction(z1, z2, self._eps, check_finite=False)

    @property
    def _eps(self) -> float:
        return F.AUTHORS_EPS if self.authors_constant else 0.0

    def _log_normalizer(self, dim: int) -> float:
        if dim not in self._log_normalizers:
            self._log_normalizers[dim] = F.vmf_log_normalizer(
                dim, self.kappa, self.authors_constant
            )
        return self._log_normalizers[dim]


@MODELS.register_module()
class DINOLoss(BaseModule):
    """Cross-entropy of the student's assignments with the teacher's.

    The baseline of DINO+ER: reconstruction in one direction, no entropy in
    the objective. Rows are logits.

    Args:
        temperature: Divides the student's logits, > 0.
        target_temperature: Divides the teacher's, > 0.
        warmup: Share of training, in [0, 1], over which the latter rises
            linearly to its value.
        warmup_target_temperature: Where it starts.

    Source:
        arXiv 2104.14294; facebookresearch/dino@04c0ad9:main_dino.py.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        target_temperature: float = 0.04,
        warmup: float = 0.0,
        warmup_target_temperature: float = 0.04,
    ) -> None:
        super().__init__()
        F.check_positive(
            temperature=temperature,
            target_temperature=target_temperature,
            warmup_target_temperature=warmup_target_temperature,
        )
        check_share(warmup=warmup)
        self.temperature = temperature
        self.target_temperature = target_temperature
        self.warmup = warmup
        self.warmup_target_temperature = warmup_target_temperature

    def forward(self, z: Tensor, target: Tensor, distill: bool = True) -> dict[str, Tensor]:
        """Compare (N, K) local rows with their detached targets.

        Returns:
            Scalars ``loss`` and ``reconstruction``, which are equal, and
            ``entropy`` of the mean assignment of ``z``, without gradient;
            in nats.

        Raises:
            ValueError: Shapes differ, or not ``distill``.
            FloatingPointError: Non-finite input.
        """
        if not distill:
            raise ValueError(
                'DINOLoss compares with a target network: use it in DINO, or ERLoss here'
            )
        with torch.autocast(z.device.type, enabled=False):
            z, target = full_precision(z=z, target=target)
            logits = z / self.temperature
            t = (target.detach() / self._target_temperature()).softmax(dim=1)
            loss = torch_f.cross_entropy(logits, t)
            read(loss, z=z, target=target)
            return dict(
                loss=loss,
                entropy=F.discrete_entropy(logits.detach().softmax(dim=1), check_finite=False),
                reconstruction=loss.detach(),
            )

    def _target_temperature(self) -> float:
        start, end = self.warmup_target_temperature, self.target_temperature
        return end + (start - end) * warmup_left(self.warmup)


@MODELS.register_module()
class MinEntLoss(BaseModule):
    """Cross-entropy with the other view's nearest one-hot target.

    Targets are taken from the rows of all ranks, normalised along the batch;
    the cross-entropy is that of the raw logits. Gradient flows through the
    logits only.

    Args:
        norm: ``'batch'``, ``'softmax'``, ``'l2'`` or ``'none'``. The last
            collapses, and is there to show it.

    Source:
        Pattern Recognition 138 (2023) 109364;
        LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py.
    """

    def __init__(self, norm: str = 'batch') -> None:
        super().__init__()
        F.check_choice('norm', norm, F.NORMS)
        self.norm = norm

    def terms(self, *heads: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """The loss and the balance of its targets, means over heads.

        Args:
            heads: Of each head (N, K) raw logits of the first view and of the
                second, local rows; K may differ.

        Returns:
            Scalars ``loss`` and ``target_entropy``:
            :func:`~mmentropy.functional.class_balance` of the targets of both
            views.

        Raises:
            ValueError: Shapes differ, or a single row in all.
            FloatingPointError: Non-finite input.
        """
        with torch.autocast(heads[0][0].device.type, enabled=False):
            pairs = [full_precision(g1=g1, g2=g2) for g1, g2 in heads]
            views = [torch.cat(heads, dim=1) for heads in zip(*pairs)]
            widths = [g1.size(1) for g1, _ in pairs]
            # All heads and both views at once.
            rows = gather(torch.stack([view.detach() for view in views], 1))
            losses, balances = [], []
            for (g1, g2), logits in zip(pairs, rows.split(widths, dim=2)):
                targets = [
                    F.nearest_min_entropy(view, self.norm, check_finite=False)
                    for view in logits.unbind(1)
                ]
                losses.append(
                    F.min_entropy_loss(g1, g2, *(local_rows(t, len(g1)) for t in targets))
                )
                balances.append(F.class_balance(torch.cat(targets), g1.size(1)))
            loss = torch.stack(losses).mean()
            read(loss, g1=views[0], g2=views[1])
            return dict(loss=loss, target_entropy=torch.stack(balances).mean())

    def forward(self, g1: Tensor, g2: Tensor) -> Tensor:
        """Scalar loss of :meth:`terms`."""
        return self.terms((g1, g2))['loss']
