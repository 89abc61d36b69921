"""Layer-wise adaptive learning rates that are clipped at the learning rate of the schedule."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARC(torch.optim.SGD):
    r"""SGD whose learning rate is, for each tensor of weights w with gradient g,

    .. math:: \min\left(\eta \frac{|w|}{|g| + \lambda |w| + \epsilon}, lr\right)

    where :math:`\lambda` is the weight decay. mmpretrain's ``LARS`` multiplies both numbers, so
    that its steps differ by the factor lr. Groups with ``lars_exclude`` (by ``custom_keys``),
    have the learning rate and the decay of the schedule; tensors that are zero, or whose
    gradient is, that learning rate without decay.

    Args:
        params: Parameters, or groups of them.
        lr: The learning rate that the schedule moves, > 0.
        eta: The trust coefficient > 0.
        eps: Keeps the quotient finite, > 0.
        options: ``momentum``, ``nesterov``, ``weight_decay`` and others of ``torch.optim.SGD``.

    Source:
        arXiv 1708.03888; the ``LARSWrapper`` of tsb0601/EMP-SSL@8fc3758:lars.py and the ``LARS`` of
        OFSkean/FroSSL@e841c57:solo/utils/lars.py with ``clip_lr``.
    """

    def __init__(
        self, params: Any, lr: float, eta: float = 1e-3, eps: float = 1e-8, **options: Any
    ) -> None:
        super().__init__(params, lr=lr, **options)
        # With ``fused`` a GradScaler would leave its factor in the gradients, whose norms count.
        self._step_supports_amp_scaling = False
        for group in self.param_groups:
            group.setdefault('eta', eta)
            group.setdefault('eps', eps)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Scale the gradients in place, the weight decay included, and take a step of SGD."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group['weight_decay'] for group in self.param_groups]
        for group in self.param_groups:
            if not group.get('lars_exclude', False):
                self._scale(group)
                group['weight_decay'] = 0.0
        super().step()
        for group, decay in zip(self.param_groups, decays):
            group['weight_decay'] = decay
        return loss

    @staticmethod
    def _scale(group: dict[str, Any]) -> None:
        """Add the weight decay to the gradients of a group, and scale them."""
        decay = group['weight_decay']
        for p in group['params']:
            if p.grad is None:
                continue
            norm, grad = p.norm(), p.grad.norm()
            rate = group['eta'] * norm / (grad + decay * norm + group['eps'])
            adapted = (norm > 0) & (grad > 0)
            ratio = torch.where(adapted, (rate / group['lr']).clamp(max=1), 1.0)
            p.grad.add_(p * adapted, alpha=decay).mul_(ratio)
