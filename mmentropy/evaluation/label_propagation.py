"""Labels of a first frame, carried through a clip by frozen features.

The settings are those of UniTrack (arXiv 2107.02156), in the form of its code
(Zhongdao/UniTrack@a83e782:test/test_vos.py, config/*.yaml): full frames, maps of stride 8 from the
third and from the fourth stage, the nearest 10 positions out of the first frame and the last 5.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.models import ResNet, VisionTransformer
from torch import Tensor, nn

from mmentropy.checks.arguments import one_of, require
from mmentropy.evaluation.features import eval_mode, preprocess

LAYERS = ('layer3', 'layer4', 'tokens')

# Features (C, H, W) of unit length, and soft labels (K, H, W).
Frame = tuple[Tensor, Tensor]


def dense_layer(backbone: nn.Module, layer: str) -> nn.Module:
    """Make a backbone of mmpretrain end in one map of a layer; it is changed in place.

    In a ResNet the strides of layer3 and layer4 are taken out and nothing is dilated: weights
    stay, maps grow to those of layer2. 'tokens' are the last patch tokens of a transformer.

    Raises:
        ValueError: the backbone has no such layer.
    """
    name = type(backbone).__name__
    require(one_of(LAYERS), layer=layer)
    if isinstance(backbone, VisionTransformer) and layer == 'tokens':
        backbone.out_type = 'featmap'
        return backbone
    if not isinstance(backbone, ResNet) or layer == 'tokens':
        raise ValueError(
            f'{name} has no {layer}: ResNets have layer3 and layer4, '
            'vision transformers have tokens'
        )
    if layer not in backbone.res_layers:
        raise ValueError(f'{name} has no {layer}: it ends in {backbone.res_layers[-1]}')
    last = backbone.res_layers.index(layer)
    # Nobody needs the stages after the layer.
    backbone.res_layers = stages = backbone.res_layers[: last + 1]
    backbone.out_indices = (last,)
    for stage in stages[2:]:
        for module in getattr(backbone, stage).modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
            elif isinstance(module, nn.AvgPool2d):
                # The shortcuts of ResNet-D have these.
                module.kernel_size = module.stride = 1
    return backbone


def segment_clip(
    backbone: nn.Module, data_preprocessor: nn.Module, frames: Iterable[Tensor], ids: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield the ids (H, W) uint8 of each frame, those of the first as given.

    Args:
        backbone: what :func:`dense_layer` returns; it runs in eval mode on its device, one frame
            at a time.
        data_preprocessor: the one that the backbone was trained with.
        frames: (C, H, W) uint8 each, in the colours that the backbone was trained with.
        ids: those of the first frame (H, W), 0 for ground.

    Raises:
        ValueError: as :func:`propagate`; frames of other channels.
    """
    device = next(backbone.parameters()).device

    def encode(frame: Tensor) -> Tensor:
        with eval_mode(backbone), torch.no_grad():
            inputs = preprocess(frame[None], None, data_preprocessor, backbone)
            return backbone(inputs.to(device))[-1][0].float()

    features = map(encode, frames)
    first = next(features)
    labels = F.one_hot(torch.from_numpy(ids).long()).permute(2, 0, 1)
    labels = _resize(labels.float().to(device), first.shape[1:])
    yield ids
    for label in islice(propagate(chain([first], features), labels), 1, None):
        yield _resize(label, ids.shape).argmax(0).to(torch.uint8).cpu().numpy()


def propagate(
    features: Iterable[Tensor],
    labels: Tensor,
    *,
    temperature: float = 0.05,
    top_k: int = 10,
    radius: float = 12,
    context: int = 5,
) -> Iterator[Tensor]:
    """Yield the soft labels (K, H, W) of each frame, those of the first as given.

    A frame attends, by :func:`attend`, to the first one and to the last ``context`` ones; the
    first one stands for those before the clip. Memory holds so many maps and the affinities of one
    row of positions. Features are (C, H, W), of any length.

    Raises:
        ValueError: sizes of maps differ, features that are not finite, fewer than ``top_k``
            positions.
    """
    features = iter(features)
    first = (_unit(next(features), labels), labels)
    recent = deque([first] * context, maxlen=context)
    yield labels
    for feature in features:
        query = _unit(feature, labels)
        labels = attend(query, first, recent, temperature, top_k, radius)
        recent.append((query, labels))
        yield labels


def attend(
    query: Tensor,
    first: Frame,
    recent: Sequence[Frame],
    temperature: float,
    top_k: int,
    radius: float,
) -> Tensor:
    """Return the labels (K, H, W) of a frame, means of those of similar positions.

    Candidates are all positions of the first frame, and those of the recent frames, of which there
    is at least one, less than ``radius`` positions of the map away. The ``top_k`` most similar ones
    are averaged with weights softmax(similarity / temperature). ``query`` are features (C, H, W)
    of unit length.
    """
    _, height, width = query.shape
    if top_k > height * width:
        raise ValueError(f'a map of {height} x {width} has fewer than top_k={top_k} positions')
    rows, columns = (torch.arange(n, device=query.device) for n in (height, width))
    across = (columns[:, None] - columns) ** 2
    result = []
    # The affinities of all rows at once would take gigabytes.
    for y in range(height):
        here = query[:, y].T
        near = rows[(rows - y).abs() < radius]
        top, bottom = int(near[0]), int(near[-1]) + 1
        far = ((near[:, None] - y) ** 2 + across[:, None] >= radius**2).flatten(1)
        # Affinities are (positions of the row, candidates of a frame), labels (K, candidates).
        affinities, values = [here @ first[0].flatten(1)], [first[1].flatten(1)]
        for keys, labels in recent:
            affinity = here @ keys[:, top:bottom].flatten(1)
            affinities.append(affinity.masked_fill_(far, -torch.inf))
            values.append(labels[:, top:bottom].flatten(1))
        best, index = torch.cat(affinities, 1).topk(top_k)
        weights = (best / temperature).softmax(1)
        result.append((torch.cat(values, 1)[:, index] * weights).sum(-1))
    return torch.stack(result, 1)


def _unit(feature: Tensor, labels: Tensor) -> Tensor:
    """Return features (C, H, W) of unit length, checked against labels (K, H, W)."""
    size, other = tuple(feature.shape[1:]), tuple(labels.shape[1:])
    if size != other:
        raise ValueError(
            f'a map of {size} does not fit labels of {other}: all frames must have one size'
        )
    if not feature.isfinite().all():
        raise ValueError('features are not finite')
    return F.normalize(feature, dim=0)


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize maps (K, H, W), bilinear, without anti-aliasing."""
    return F.interpolate(maps[None], tuple(size), mode='bilinear', align_corners=False)[0]
