r"""Minimum entropy (MinEnt), Pattern Recognition 138 (2023) 109364.

.. math:: L = \frac{1}{2 N} \sum_i
          \mathrm{CE}(g_i, \hat y(g_i')) + \mathrm{CE}(g_i', \hat y(g_i)),
          \quad \hat y(g) = \arg\max_k \mathrm{norm}(g)_k

g and g' are the logits of two views of an image. They are normalised along the batch, which keeps
the classes in balance; the nearest vector of entropy 0 is then the target of the other view's raw
logits. Several heads of different width are averaged.

Source:
    Pattern Recognition 138 (2023) 109364, written from its formulas; compared with
    LiShuo1001/MinEnt@d17ed2f:MinEnt/model.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, DICT, SEVERAL, Rule, one_of, require, some
from mmentropy.checks.tensors import check_pair
from mmentropy.distributed import gather, local_rows
from mmentropy.functional.minimum_entropy import (
    NORMS,
    class_balance,
    min_entropy_loss,
    nearest_min_entropy,
)
from mmentropy.models.base import check_parts, in_full_precision, mean_over_ranks, project

CLASSES = Rule('one or several integers >= 2', lambda x: SEVERAL.test(x) or some(SEVERAL).test(x))


@MODELS.register_module()
class MinEntLoss(BaseModule):
    """Cross-entropy with the other view's nearest one-hot target.

    Targets are taken from the rows of all ranks, normalised along the batch; the cross-entropy is
    that of the raw logits. Gradient flows through the logits only.

    Args:
        norm: ``'batch'``, ``'softmax'``, ``'l2'`` or ``'none'``. The last collapses, and is there
            to show it.
    """

    def __init__(self, norm: str = 'batch') -> None:
        super().__init__()
        require(one_of(NORMS), norm=norm)
        self.norm = norm

    @in_full_precision
    def forward(self, *heads: Tensor) -> dict[str, Tensor]:
        """The loss and the balance of its targets, means over heads.

        Args:
            heads: Two tensors (N, K) a head, the raw logits of the first and of the second view,
                local rows; K may differ between heads.

        Returns:
            Scalars ``loss`` and ``target_entropy``:
            :func:`~mmentropy.functional.minimum_entropy.class_balance` of the targets of both
            views.

        Raises:
            ValueError: Shapes differ, or there is a single row in all.
        """
        firsts, seconds = heads[::2], heads[1::2]
        for g1, g2 in zip(firsts, seconds, strict=True):
            check_pair(g1=g1, g2=g2)
        # All heads and both views are gathered at once: (W N, 2, sum of K).
        views = [torch.cat(logits, dim=1).detach() for logits in (firsts, seconds)]
        rows = gather(torch.stack(views, dim=1))
        losses, balances = [], []
        logits = rows.split([g.size(1) for g in firsts], dim=2)
        for g1, g2, gathered in zip(firsts, seconds, logits):
            targets = [nearest_min_entropy(view, self.norm) for view in gathered.unbind(1)]
            own = [local_rows(target, len(g1)) for target in targets]
            losses.append(min_entropy_loss(g1, g2, *own))
            balances.append(class_balance(torch.cat(targets), g1.size(1)))
        return dict(loss=torch.stack(losses).mean(), target_entropy=torch.stack(balances).mean())


class GroupedLinear(nn.Linear):
    """Linear layers side by side, as many as the input has groups.

    Parameters are those of one layer above the other, drawn as each alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (G, in_features, N) to (G, out_features / G, N)."""
        groups = len(x)
        return torch.baddbmm(
            self.bias.view(groups, -1, 1), self.weight.view(groups, -1, self.in_features), x
        )


class ParallelProjectors(BaseModule):
    """Projectors of equal input and hidden width, layer by layer in one.

    The function of one ``NonLinearNeck`` per head: a hidden layer is one matrix product and one
    batch norm for all. An optimiser with a rate per tensor, as LARS, sees one layer in them.

    The arguments are those of :class:`MinEntHead`. A norm that is no batch norm, which would mix
    the heads, raises ``ValueError``.
    """

    def __init__(
        self,
        in_channels: int,
        hid_channels: int,
        out_channels: Sequence[int],
        num_layers: int,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        width = len(out_channels) * hid_channels
        self.fcs = nn.ModuleList(
            GroupedLinear(hid_channels if i else in_channels, width) for i in range(num_layers - 1)
        )
        self.bns = nn.ModuleList(build_norm_layer(norm_cfg, width)[1] for _ in self.fcs)
        self.last = nn.ModuleList(nn.Linear(hid_channels, classes) for classes in out_channels)
        if not isinstance(self.bns[0], nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f'norm_cfg must be a batch norm, whose channels do not mix, got {norm_cfg}'
            )

    def forward(self, *views: Tensor) -> list[tuple[Tensor, ...]]:
        """Map (N, C) of each view to (N, K), per projector; batch norm sees view after view."""
        rows, heads = [len(view) for view in views], len(self.last)
        # The rows come last, which is how the products of a group leave them.
        x = torch.cat(views).t()[None]
        for fc, bn in zip(self.fcs, self.bns):
            apart = fc(x).view(1, -1, sum(rows)).split(rows, dim=2)
            # Batch norm is slow on what is not contiguous.
            x = torch.cat([bn(view.contiguous()) for view in apart], dim=2)
            x = F.relu(x, inplace=True).view(heads, -1, sum(rows))
        return [fc(h.t()).split(rows) for fc, h in zip(self.last, x)]


@MODELS.register_module()
class MinEntHead(BaseModule):
    """Projectors to one or several sets of pseudo-classes, and the loss.

    Args:
        in_channels: Width of the pooled backbone feature.
        out_channels: Number of pseudo-classes, or a list of them, one per head; the loss is the
            mean over heads.
        loss: Config of the loss module.
        hid_channels: Width of the hidden layers.
        num_layers: Linear layers of a projector >= 2, with batch norm and ReLU between them.
        norm_cfg: Config of that batch norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | Sequence[int],
        loss: dict,
        hid_channels: int = 1024,
        num_layers: int = 3,
        norm_cfg: dict = dict(type='GlobalBN'),
    ) -> None:
        super().__init__()
        require(COUNT, in_channels=in_channels, hid_channels=hid_channels)
        require(CLASSES, out_channels=out_channels)
        require(SEVERAL, num_layers=num_layers)
        require(DICT, loss=loss, norm_cfg=norm_cfg)
        if isinstance(out_channels, int):
            out_channels = [out_channels]
        self.out_channels = list(out_channels)
        self.projectors = ParallelProjectors(
            in_channels, hid_channels, out_channels, num_layers, norm_cfg
        )
        self.loss_module = MODELS.build(loss)

    def loss(self, f1: Tensor, f2: Tensor) -> dict[str, Tensor]:
        """Compare the pooled features (N, C) of two views."""
        logits = self.projectors(f1, f2)
        return self.loss_module(*(g for pair in logits for g in pair))


@MODELS.register_module()
class MinEnt(BaseSelfSupervisor):
    """Minimum entropy.

    The neck pools, the head projects. There is no EMA, no predictor, and there are no negatives.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_parts(self)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss`` and ``target_entropy`` of a batch.

        Args:
            inputs: Two views, each (N, C, H, W).
            data_samples: Unused.

        Raises:
            ValueError: Not two views.
            FloatingPointError: A term is not finite.
        """
        features = project(self, inputs, only_two=True)
        return mean_over_ranks('MinEnt', self.head.loss(*features), features)
