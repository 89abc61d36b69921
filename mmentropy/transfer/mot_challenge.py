"""MOTChallenge as published: its sequences, and its detections as a detector.

A sequence is a folder with ``seqinfo.ini``, ``img1/000001.jpg`` and so on, ``gt/gt.txt`` (frame,
id, left, top, width, height, 1 or 0 for ignored, class 1..13, visibility) and ``det/det.txt``
(frame, -1, left, top, width, height, score); frames count from 1 (arXiv 1603.00831).
"""

import os
from collections import defaultdict
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import MOTChallengeDataset
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from PIL import Image
from torch import Tensor

GT_COLUMNS = 9
DET_COLUMNS = 7
CLASSES = 13
# The values of seqinfo.ini that are whole numbers above 0.
_NUMBERS = ('seqLength', 'imWidth', 'imHeight')


def read_boxes(path: str | os.PathLike, columns: int) -> dict[int, np.ndarray]:
    """Return the first columns of a ``gt.txt`` or ``det.txt`` by frame.

    Returns:
        Frame to (N, columns) float64, N > 0; frames without rows are absent.

    Raises:
        FileNotFoundError, ValueError: no such file; a line of something else, or of numbers that
            are not finite.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{path} does not exist: a sequence needs seqinfo.ini, img1, gt/gt.txt and, for '
            'public detections, det/det.txt'
        )
    frames: dict[int, list] = defaultdict(list)
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip():
            continue
        row: list[float] = []
        with suppress(ValueError):
            row = [float(value) for value in line.split(',')][:columns]
        if len(row) < columns or not np.isfinite(row).all():
            raise ValueError(
                f'{path}, line {number}: expected {columns} numbers with commas, got {line!r}'
            )
        frames[int(row[0])].append(row)
    return {frame: np.array(rows) for frame, rows in frames.items()}


@DATASETS.register_module()
class MOTSequences(MOTChallengeDataset):
    """MOT16, MOT17 or MOT20 as published, to track in; nothing is converted.

    Rows are left out as by mmdet's data set of converted files; identities are the published ones.

    Args:
        data_root: the folder of the sequences, e.g. ``MOT16/train``.
        sequences: pattern of their names, e.g. ``*-FRCNN`` in MOT17, which has each clip three
            times.
        kwargs: arguments of :class:`mmdet.datasets.MOTChallengeDataset`.

    Raises:
        FileNotFoundError, ValueError: no sequence, or one that is not whole or contradicts itself.
    """

    def __init__(self, data_root: str, sequences: str = '*', **kwargs: Any) -> None:
        self.sequences = sequences
        super().__init__(data_root=data_root, test_mode=True, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict per sequence, with its frames under 'images'."""
        self.cat_ids = [i + 1 for i in range(len(self.metainfo['classes']))]
        self.cat2label = {i: i - 1 for i in self.cat_ids}
        infos = sorted(Path(self.data_root).glob(f'{self.sequences}/seqinfo.ini'))
        if not infos:
            raise FileNotFoundError(
                f'MOTSequences in {os.path.abspath(self.data_root)}: no {self.sequences}/'
                'seqinfo.ini; put the sequences there as published or set data_root'
            )
        return [self._sequence(i, path) for i, path in enumerate(infos)]

    def _sequence(self, video_id: int, path: Path) -> dict:
        folder, info = path.parent, _seqinfo(path)
        length, width, height = (_whole(path, info, key) for key in _NUMBERS)
        boxes = _ground_truth(folder / 'gt/gt.txt', length)
        images: list[dict] = []
        for frame, image in enumerate(_frames(path, info, length, (width, height)), 1):
            raw = dict(
                img_id=len(images),
                frame_id=frame - 1,
                file_name=str(image.relative_to(self.data_root)),
                width=width,
                height=height,
            )
            rows = [_annotation(row) for row in boxes.get(frame, ())]
            images.append(self.parse_data_info(dict(raw_img_info=raw, raw_ann_info=rows)))
        return dict(video_id=video_id, images=images, video_length=len(images))


def _seqinfo(path: Path) -> dict[str, str]:
    parser = ConfigParser()
    # Without this, names would lose their capitals.
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read(path)
        info = dict(parser['Sequence'])
        missing = {'imDir', 'imExt', *_NUMBERS} - set(info)
    except (ConfigError, KeyError) as error:
        missing = {f'[Sequence] ({type(error).__name__})'}
    if missing:
        raise ValueError(f'{path} lacks {", ".join(sorted(missing))}')
    return info


def _whole(path: Path, info: dict[str, str], key: str) -> int:
    if not info[key].isdecimal() or not int(info[key]):
        raise ValueError(f'{path}: {key} must be a whole number above 0, got {info[key]!r}')
    return int(info[key])


def _frames(path: Path, info: dict[str, str], length: int, size: tuple[int, int]) -> list[Path]:
    """Return the images of a sequence, which are as many and as large as ``seqinfo.ini`` says."""
    folder, said = path.parent / info['imDir'], f'{path} says that there are {length} frames'
    images = [folder / f'{frame:06}{info["imExt"]}' for frame in range(1, length + 2)]
    for image in images[:-1]:
        if not image.is_file():
            raise FileNotFoundError(f'{image} does not exist, but {said}')
    if images.pop().exists():
        raise ValueError(f'{folder} has more images, but {said}: correct its seqLength')
    with Image.open(images[0]) as first:
        if first.size != size:
            sizes = '{} x {} pixels, but {} says {} x {}'.format(*first.size, path, *size)
            raise ValueError(f'{images[0]} has {sizes}: correct its imWidth and imHeight')
    return images


def _ground_truth(path: Path, length: int) -> dict[int, np.ndarray]:
    """Return the rows of a ``gt.txt`` by frame, whose frames and classes are checked."""
    boxes = read_boxes(path, GT_COLUMNS)
    for frame, rows in boxes.items():
        if not 1 <= frame <= length:
            raise ValueError(
                f'{path} has boxes in frame {frame}, but there are {length} frames by seqLength in '
                'its seqinfo.ini: correct it, or get the sequence again'
            )
        wrong = set(rows[:, 7]) - set(range(1, CLASSES + 1))
        if wrong:
            raise ValueError(
                f'{path} has class {min(wrong):g} in frame {frame}: classes are 1 to {CLASSES}, '
                'get the file again'
            )
    return boxes


def _annotation(row: np.ndarray) -> dict:
    _, instance, left, top, width, height, conf, category, visible = row
    return dict(
        instance_id=int(instance),
        bbox=[left, top, width, height],
        area=width * height,
        mot_conf=conf,
        category_id=int(category),
        visibility=visible,
    )


@MODELS.register_module()
class PublicDetections(BaseModule):
    """The detector of MOTChallenge's public protocol: boxes from a file.

    It takes the place of ``detector`` in DeepSORT and StrongSORT. Boxes of image
    ``SEQ/img1/000001.jpg`` are those of frame 1 in ``SEQ/FILE``.

    Args:
        file: path in the folder of the sequence; its columns are those of ``det.txt``.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_boxes`, when it predicts.
        ValueError: the name of an image is not the number of its frame.
    """

    def __init__(self, file: str = 'det/det.txt') -> None:
        super().__init__()
        self.file = file
        self._path = Path()
        self._boxes: dict[int, np.ndarray] = {}

    def predict(self, inputs: Tensor, data_samples: list[DetDataSample]) -> list[DetDataSample]:
        """Add ``pred_instances``, of class 0, in pixels of the file, to samples with ``img_path``.

        Only the device and type of the images ``inputs`` (N, C, H, W) matter.
        """
        for sample in data_samples:
            image = Path(sample.img_path)
            if not image.stem.isdecimal():
                raise ValueError(
                    f'{image} is not named by the number of its frame, as 000001.jpg is, by which '
                    f'it finds its boxes: rename the images of {image.parent}'
                )
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
