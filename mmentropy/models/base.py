"""What the methods share: from views to projections, from terms to the loss."""

from collections.abc import Callable, Iterable
from functools import cache, wraps
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import MessageHub, print_log
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import DICT, Rule, is_number, or_none, require
from mmentropy.distributed import all_sum
from mmentropy.models.ema import ForeachEMA
from mmentropy.models.optimizer_steps import optimizer_step_begins

SHARE_OF_TRAINING = Rule('a share of training in [0, 1]', lambda x: is_number(x) and 0 <= x <= 1)
MOMENTUM = Rule(
    '1 - the EMA coefficient, a number in (0, 1), or None for no EMA',
    lambda x: x is None or is_number(x) and 0 < x < 1,
)


def check_parts(model: BaseSelfSupervisor) -> None:
    """Raise ``ValueError`` unless the model has a neck and a head."""
    for name in ('neck', 'head'):
        if getattr(model, name, None) is None:
            raise ValueError(f'{type(model).__name__} needs a {name}')


def check_views(model: BaseSelfSupervisor, views: Any, only_two: bool = False) -> None:
    """Raise ``ValueError`` unless there is a list of two views, or of more if not ``only_two``."""
    count = len(views) if isinstance(views, (list, tuple)) else 1
    if count < 2 or only_two and count > 2:
        wanted = 'two' if only_two else 'at least two'
        raise ValueError(
            f'{type(model).__name__} needs {wanted} views of each image, got {count}; let the '
            'pipeline make them: dict(type="MultiView", num_views=[2], ...)'
        )


def project(model: BaseSelfSupervisor, views: list[Tensor], only_two: bool = False) -> list[Tensor]:
    """Projections (N, D) of views (N, C, H, W), which may differ in size and are checked."""
    check_views(model, views, only_two)
    return encode_views(model, views)


def encode_views(model: BaseSelfSupervisor, inputs: Tensor | list[Tensor]) -> list[Tensor]:
    """Projections (N, D) of views (N, C, H, W), or of a single one."""
    views = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return [model.neck(model.backbone(view))[0] for view in views]


def target_projections(model: BaseSelfSupervisor, views: list[Tensor]) -> list[Tensor]:
    """Projections (N, D) by ``model.target_net``, without gradient.

    The target network moves first, once per step of the optimiser; a step that a loss scaler skips
    counts as one. Its first move copies the online network. In eval mode it stands still.
    """
    if model.training and optimizer_step_begins():
        model.target_net.update_parameters(nn.Sequential(model.backbone, model.neck))
    with torch.no_grad():
        return [model.target_net(view)[0] for view in views]


def ema_of(
    model: BaseSelfSupervisor, base_momentum: float | None, needed: bool = False
) -> ForeachEMA | None:
    """An averaged copy of backbone and neck, or None if ``base_momentum`` is; both are checked.

    Raises:
        ValueError: A part is missing, the coefficient is out of range, or it is None where the
            copy is ``needed``.
    """
    check_parts(model)
    require(MOMENTUM, base_momentum=base_momentum)
    if base_momentum is None and needed:
        raise ValueError(f'{type(model).__name__} needs a target network: base_momentum in (0, 1)')
    if base_momentum is None:
        return None
    return ForeachEMA(nn.Sequential(model.backbone, model.neck), momentum=base_momentum)


@MODELS.register_module(name=['PredictorHead', 'ERHead', 'MECHead', 'MatrixSSLHead'])
class PredictorHead(BaseModule):
    """A loss module, and the predictor of the online branch if there is one.

    Configs call it by the name of their method: ``ERHead``, ``MECHead``, ``MatrixSSLHead``.

    Args:
        loss: Config of the loss module.
        predictor: Config of a neck (N, D) -> (N, D), as in BYOL; None for a symmetric network.
    """

    def __init__(self, loss: dict, predictor: dict | None = None) -> None:
        super().__init__()
        require(DICT, loss=loss)
        require(or_none(DICT), predictor=predictor)
        self.loss_module = MODELS.build(loss)
        self.predictor = MODELS.build(predictor) if predictor else None

    def predict(self, z: Tensor) -> Tensor:
        """Map projections (N, D) to predictions (N, D)."""
        return z if self.predictor is None else self.predictor([z])[0]


def in_full_precision(forward: Callable[..., dict]) -> Callable[..., dict]:
    """Let the ``forward`` of a loss compute in float32 at least.

    Autocast is switched off, and tensors of half precision are converted. float64 stays float64.
    """

    @wraps(forward)
    def convert_and_forward(self: nn.Module, *tensors: Tensor, **options: Any) -> dict:
        with torch.autocast(tensors[0].device.type, enabled=False):
            return forward(self, *map(at_least_float32, tensors), **options)

    return convert_and_forward


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` itself, or in float32 if it is floating-point and narrower."""
    return x.float() if x.is_floating_point() and x.element_size() < 4 else x


def warmed_up(start: float, end: float, share: float) -> float:
    """What a number is that goes linearly from ``start`` to ``end`` over a share of training.

    Of W iterations the first has ``start`` and the last already ``end``, as in
    ``numpy.linspace(start, end, W)``. It is a function of the iteration, so that a resumed run has
    it right. Outside of a Runner's training it is ``end``.
    """
    hub = MessageHub.get_current_instance()
    step, total = hub.get_info('iter'), hub.get_info('max_iters')
    if step is None or not total or step >= share * total - 1:
        return end
    return end + (start - end) * (1 - step / (share * total - 1))


def mean_terms(terms: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each scalar over dicts with the same keys; only ``loss`` has gradient."""
    listed = list(terms)
    return {
        key: torch.stack([t[key] if key == 'loss' else t[key].detach() for t in listed]).mean()
        for key in listed[0]
    }


def mean_over_pairs(
    head: PredictorHead, z: list[Tensor], targets: list[Tensor], **options: Any
) -> dict[str, Tensor]:
    """:func:`mean_terms` of each view's prediction with the targets of the other views.

    Each view is predicted once. The first view, a global one, comes last, so that it has the most
    weight in the running statistics of the predictor.

    Args:
        head: Its loss module takes a prediction and a target.
        z: Projections (N, D) of local rows of all views; gradient flows into them.
        targets: (N, D) of the first views, which are detached.
        options: Further arguments of the loss module.
    """
    predictions = [head.predict(view) for view in reversed(z)][::-1]
    return mean_terms(
        head.loss_module(prediction, target.detach(), **options)
        for j, target in enumerate(targets)
        for i, prediction in enumerate(predictions)
        if i != j
    )


def mean_over_ranks(
    method: str, terms: dict[str, Tensor], features: list[Tensor]
) -> dict[str, Tensor]:
    """Average each term over ranks, and raise on all of them if one is not finite.

    Values become means over ranks, which are those of the whole batch for terms of gathered rows
    and for means over rows. The gradient of ``loss`` stays that of this rank, which DDP averages.
    This is the one place where an iteration looks at its numbers, for which the host waits for the
    device.

    Args:
        method: What the message calls the algorithm.
        terms: Scalars of this rank.
        features: What the terms were computed from, looked at only if a term is not finite; a
            tensor that is there twice counts once.

    Raises:
        FloatingPointError: Which term is not finite, by which rank's features, at which iteration.
    """
    means = torch.stack([value.detach() for value in terms.values()])
    means = all_sum(means) / get_world_size()
    if not torch.isfinite(means).all():
        raise FloatingPointError(_what_is_not_finite(method, dict(zip(terms, means)), features))
    if dict(zip(terms, means)).get('loss', 0) < 0:
        _say_that_negative_is_normal(method)
    return {
        name: value + (mean - value.detach()) for (name, value), mean in zip(terms.items(), means)
    }


@cache
def _say_that_negative_is_normal(method: str) -> None:
    """Log it once, where the first loss below 0 is about to be logged."""
    text = f'the loss of {method} is below 0, as it may be: minus an entropy is minimised'
    print_log(f'{text}, and lower is better', logger='current')


def _what_is_not_finite(method: str, means: dict[str, Tensor], features: list[Tensor]) -> str:
    """The message, for which all ranks say whether their features are finite."""
    step = MessageHub.get_current_instance().get_info('iter')
    where = '' if step is None else f' at iteration {step + 1}'
    terms = ', '.join(
        f'{name} is {float(mean)}' for name, mean in means.items() if not torch.isfinite(mean)
    )
    faults = next(iter(means.values())).new_zeros(get_world_size())
    different = {id(x): x.detach() for x in features}.values()
    faults[get_rank()] = sum(int((~torch.isfinite(x)).sum()) for x in different)
    ranks = ', '.join(
        f'{int(bad)} entries of rank {rank}' for rank, bad in enumerate(all_sum(faults)) if bad
    )
    cause = 'all features are finite, so the objective overflowed'
    if ranks:
        cause = f'the features are not finite ({ranks})'
    return (
        f'{method}{where}: {terms}; {cause}. Lower the learning rate, warm it up longer, use '
        'bfloat16 in place of float16, or check the hyper-parameters of the loss'
    )
