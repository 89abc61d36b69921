"""Heads: predictor or projectors, and the loss module.

A head's ``loss`` returns a dict of scalars: ``loss``, with gradient, and
metrics, whose names do not contain "loss".
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as torch_f
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, DICT, SEVERAL, Rule, or_none, require, some

CLASSES = Rule('one or several integers >= 2', lambda x: SEVERAL.test(x) or some(SEVERAL).test(x))


def mean_terms(terms: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each key over dicts of scalars; only ``loss`` has gradient."""
    return {
        key: torch.stack([t[key] if key == 'loss' else t[key].detach() for t in terms]).mean()
        for key in terms[0]
    }


@MODELS.register_module()
class MECHead(BaseModule):
    """Predictor and loss of MEC.

    Args:
        loss: Config of the loss module.
        predictor: Config of a neck (N, D) -> (N, D); None for a symmetric
            network.
    """

    def __init__(self, loss: dict, predictor: dict | None = None) -> None:
        super().__init__()
        require(DICT, loss=loss)
        require(or_none(DICT), predictor=predictor)
        self.loss_module = MODELS.build(loss)
        self.predictor = MODELS.build(predictor) if predictor else None

    def loss(self, z: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare (N, D) projections with the detached (N, D) target."""
        if self.predictor is not None:
            z = self.predictor([z])[0]
        return self.loss_module.terms(z, target.detach())


@MODELS.register_module()
class ERHead(BaseModule):
    """Predictor, if any, and loss of ER.

    Args:
        loss: Config of the loss module.
        predictor: Config of a neck (N, D) -> (N, D) on the online branch,
            as in BYOL; None for SimCLR and DINO.
    """

    def __init__(self, loss: dict, predictor: dict | None = None) -> None:
        super().__init__()
        require(DICT, loss=loss)
        require(or_none(DICT), predictor=predictor)
        self.loss_module = MODELS.build(loss)
        self.predictor = MODELS.build(predictor) if predictor else None

    def loss(self, z1: Tensor, z2: Tensor, distill: bool = False) -> dict[str, Tensor]:
        """Compare (N, D) with (N, D), with a target if ``distill``."""
        if self.predictor is not None:
            z1 = self.predictor([z1])[0]
            if not distill:
                z2 = self.predictor([z2])[0]
        return self.loss_module(z1, z2, distill=distill)


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

    The function of one ``NonLinearNeck`` per head: a hidden layer is one
    matrix product and one batch norm for all. An optimiser with a rate per
    tensor, as LARS, sees one layer in them.

    Args:
        in_channels: C, the width of the input.
        hid_channels: Width of the hidden layers of each.
        out_channels: K, the width of each output.
        num_layers: Linear layers >= 2.
        norm_cfg: Config of a batch norm.

    Raises:
        ValueError: The norm is another, which would mix the heads.
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
        """Map (N, C) of each view to (N, K), listed per projector.

        Batch norm sees one view after the other.
        """
        rows, heads = [len(view) for view in views], len(self.last)
        # Rows last, which is how the products of a group leave them.
        x = torch.cat(views).t()[None]
        for fc, bn in zip(self.fcs, self.bns):
            apart = fc(x).view(1, -1, sum(rows)).split(rows, dim=2)
            # Batch norm is slow on what is not contiguous.
            x = torch.cat([bn(view.contiguous()) for view in apart], dim=2)
            x = torch_f.relu(x, inplace=True).view(heads, -1, sum(rows))
        return [fc(h.t()).split(rows) for fc, h in zip(self.last, x)]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Also read checkpoints with one ``NonLinearNeck`` per head."""
        for key in self.state_dict():
            layer, index, name = key.split('.')
            old = [f'{prefix}{i}.{layer[:2]}{index}.{name}' for i in range(len(self.last))]
            if layer == 'last':
                old = [f'{prefix}{index}.fc{len(self.fcs)}.{name}']
            if all(o in state_dict for o in old):
                parts = [state_dict.pop(o) for o in old]
                state_dict[prefix + key] = torch.cat(parts) if parts[0].dim() else parts[0]
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class MinEntHead(BaseModule):
    """Projectors to one or several sets of pseudo-classes, and the loss.

    Args:
        in_channels: Width of the pooled backbone feature.
        out_channels: Number of pseudo-classes, or a list of them, one per
            head; the loss is the mean over heads.
        loss: Config of the loss module.
        hid_channels: Width of the hidden layers.
        num_layers: Linear layers of a projector >= 2, with batch norm and
            ReLU between them.
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
        return self.loss_module.terms(*self.projectors(f1, f2))
