r"""Deep clustering (DeepCluster), arXiv 1807.05520.

.. math:: L = -\frac{1}{N} \sum_i \log \mathrm{softmax}(W z_i + b)_{y_i}

y are pseudo-labels, the clusters of the projections z of all training images by k-means. They are
assigned anew from time to time, by ``ClusterHook``, which also draws W and b anew, and
``ClusterSampler`` draws images of all clusters alike.

Source:
    arXiv 1807.05520; facebookresearch/deepcluster@2d1927e:main.py, clustering.py, util.py.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mmentropy.checks.arguments import COUNT, SEVERAL, require
from mmentropy.distributed import shared_as
from mmentropy.models.base import (
    check_parts,
    encode_views,
    in_full_precision,
    mean_over_ranks,
    mean_terms,
)


@MODELS.register_module()
class ClusterHead(BaseModule):
    """A linear classifier of the clusters.

    Args:
        in_channels: D, the width of the projections.
        num_clusters: K >= 2.
    """

    # The monitor divides the logits by it, as it does those of other prototypes.
    temperature = 1.0

    def __init__(self, in_channels: int, num_clusters: int) -> None:
        super().__init__()
        require(COUNT, in_channels=in_channels)
        require(SEVERAL, num_clusters=num_clusters)
        self.prototypes = nn.Linear(in_channels, num_clusters)
        self.reset(torch.Generator().manual_seed(0))

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights anew, by a generator on the CPU, with standard deviation 0.01."""
        weight = torch.randn(self.prototypes.weight.shape, generator=generator)
        self.prototypes.weight.copy_(shared_as(0.01 * weight, self.prototypes.weight))
        self.prototypes.bias.zero_()

    @in_full_precision
    def forward(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return ``loss``, the cross-entropy of (N, D) local rows with clusters (N,)."""
        return dict(loss=F.cross_entropy(self.prototypes(z), labels))


@MODELS.register_module()
class DeepCluster(BaseSelfSupervisor):
    """Classification of images by the clusters of their own features.

    The head is a ``ClusterHead``. Training needs ``ClusterHook``.

    Attributes:
        labels: (images,) int64, the cluster of each training image; None until the hook sets it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_parts(self)
        self.labels: Tensor | None = None

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Return ``loss``, the mean over views.

        Args:
            inputs: Any number of views, each (N, C, H, W).
            data_samples: N samples with the ``sample_idx`` of the image in the training set.

        Raises:
            ValueError: There are no clusters, or the samples do not say which image they are.
            FloatingPointError: The loss is not finite.
        """
        if self.labels is None:
            raise ValueError('DeepCluster has no clusters: add dict(type="ClusterHook") to hooks')
        rows = [getattr(sample, 'sample_idx', None) for sample in data_samples or [None]]
        if None in rows:
            raise ValueError('DeepCluster needs the sample_idx of each image, by PackInputs')
        z = encode_views(self, inputs)
        labels = self.labels[rows].to(z[0].device)
        return mean_over_ranks('DeepCluster', mean_terms(self.head(x, labels) for x in z), z)
