"""What mmdet's trackers of the SORT family take: appearance and boxes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from mmentropy.evaluation.features import backbone_features
from mmentropy.transfer.mot import DET_COLUMNS, read_boxes


@MODELS.register_module()
class FrozenReID(BaseModule):
    """Embed boxes by the pooled features of a frozen backbone.

    Takes the place of mmdet's BaseReID, which needs a trained head, as
    ``reid`` of DeepSORT and StrongSORT. The backbone is initialised here:
    mmengine does so only before training, which a tracker never sees.

    Args:
        backbone: config of a backbone, whose last output is taken. Its
            ``init_cfg`` names the checkpoint; None is random weights.

    Raises:
        ValueError: no checkpoint named; one that does not fit.
        FileNotFoundError, IsADirectoryError: as
            :class:`mmentropy.weights.backbone.PretrainedBackbone`.
    """

    # The trackers ask for it in frames without boxes.
    head = SimpleNamespace(out_channels=0)

    def __init__(self, backbone: dict) -> None:
        super().__init__()
        init_cfg = backbone.get('init_cfg', {})
        if init_cfg is not None and not init_cfg.get('checkpoint'):
            raise ValueError(
                'FrozenReID has no checkpoint: add --cfg-options '
                'model.reid.backbone.init_cfg.checkpoint=PATH'
            )
        self.backbone = MODELS.build(backbone)
        self.backbone.init_weights()
        self.eval()

    def train(self, mode: bool = True) -> 'FrozenReID':
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        """Embeddings (N, C) of length 1, without gradient.

        The length is for SORTTracker, which takes Euclidean distances to the
        mean of a track.

        Args:
            inputs: normalised crops (N, 3, H, W).
            mode: 'tensor', all that the trackers ask for.
        """
        return F.normalize(backbone_features(self.backbone, inputs))


@MODELS.register_module()
class PublicDetections(BaseModule):
    """The detector of MOTChallenge's public protocol: boxes from a file.

    Takes the place of ``detector`` in DeepSORT and StrongSORT. Boxes of
    image ``SEQ/img1/000001.jpg`` are those of frame 1 in ``SEQ/FILE``.

    Args:
        file: in the folder of the sequence, in the columns of ``det.txt``:
            frame, -1, left, top, width, height, score.

    Raises:
        FileNotFoundError, ValueError: when it predicts: no such file; a line
            of something else.
    """

    def __init__(self, file: str = 'det/det.txt') -> None:
        super().__init__()
        self.file = file
        self._path = Path()
        self._boxes: dict[int, np.ndarray] = {}

    def predict(self, inputs: Tensor, data_samples: list[DetDataSample]) -> list[DetDataSample]:
        """Add ``pred_instances``, of class 0, in pixels of the file.

        Args:
            inputs: images (N, C, H, W); only their device matters.
            data_samples: N, with ``img_path``.
        """
        for sample in data_samples:
            image = Path(sample.img_path)
            path = image.parent.parent / self.file
            if path != self._path:
                self._boxes = read_boxes(path, DET_COLUMNS)
                self._path = path
            rows = self._boxes.get(int(image.stem), np.empty((0, DET_COLUMNS)))
            boxes = inputs.new_tensor(rows[:, 2:])
            corner, size, score = boxes.split((2, 2, 1), 1)
            sample.pred_instances = InstanceData(
                bboxes=torch.cat((corner, corner + size), 1),
                scores=score[:, 0],
                labels=boxes.new_zeros(len(boxes), dtype=torch.int64),
            )
        return data_samples
