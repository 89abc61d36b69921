"""Clips in the layout of MOTChallenge: read as published, drawn from digits.

A sequence is a folder with ``seqinfo.ini``, ``img1/000001.jpg`` and so on,
``gt/gt.txt`` (frame, id, left, top, width, height, 1 or 0 for ignored, class
1..13, visibility) and ``det/det.txt`` (frame, -1, left, top, width, height,
score); frames count from 1 (arXiv 1603.00831).
"""

import os
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

import numpy as np
from mmdet.datasets import MOTChallengeDataset
from mmdet.registry import DATASETS
from PIL import Image

from mmentropy.datasets import Digits
from mmentropy.transfer.clips import SIZE, draw_clip
from mmentropy.weights.files import whole_folder

GT_COLUMNS = 9
DET_COLUMNS = 7
# The detector of the digits misses what is covered by more than a quarter, one
# in ten of the others, and is wrong by about a pixel.
OBJECTS = 4
VISIBLE = 0.75
MISSED = 0.1
JITTER = 1.0


def read_boxes(path: str | os.PathLike, columns: int) -> dict[int, np.ndarray]:
    """Rows of a ``gt.txt`` or ``det.txt`` by frame.

    Args:
        path: lines of numbers with commas; the first is the frame.
        columns: how many to take of each line.

    Returns:
        Frame to (N, columns) float64, N > 0; frames without rows are absent.

    Raises:
        FileNotFoundError, ValueError: no such file; a line of something else.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'{path} does not exist: a sequence needs '
            'seqinfo.ini, img1, gt/gt.txt and, for public '
            'detections, det/det.txt'
        )
    frames: dict[int, list] = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(value) for value in line.split(',')]
        except ValueError:
            row = []
        if len(row) < columns:
            raise ValueError(
                f'{path}, line {number}: expected {columns} numbers with commas, got {line!r}'
            )
        frames.setdefault(int(row[0]), []).append(row[:columns])
    return {frame: np.array(rows) for frame, rows in frames.items()}


@DATASETS.register_module()
class MOTSequences(MOTChallengeDataset):
    """MOT16, MOT17 or MOT20 as published, to track in; nothing is converted.

    Rows are kept and left out as by mmdet's data set of converted files, and
    identities are the published ones.

    Args:
        data_root: the folder of the sequences, e.g. ``MOT16/train``.
        sequences: pattern of their names, e.g. ``*-FRCNN`` in MOT17, which
            has each clip three times.
        kwargs: of :class:`mmdet.datasets.MOTChallengeDataset`.

    Raises:
        FileNotFoundError, ValueError: no sequence, or one that is not whole.
    """

    def __init__(self, data_root: str, sequences: str = '*', **kwargs) -> None:
        self.sequences = sequences
        super().__init__(data_root=data_root, test_mode=True, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict per sequence, its frames under 'images'."""
        self.cat_ids = [i + 1 for i in range(len(self.metainfo['classes']))]
        self.cat2label = {i: i - 1 for i in self.cat_ids}
        infos = sorted(Path(self.data_root).glob(f'{self.sequences}/seqinfo.ini'))
        if not infos:
            raise FileNotFoundError(
                f'MOTSequences in {os.path.abspath(self.data_root)}: no '
                f'{self.sequences}/seqinfo.ini; put the sequences there as '
                'published or set data_root'
            )
        return [self._sequence(i, path) for i, path in enumerate(infos)]

    def _sequence(self, video_id: int, path: Path) -> dict:
        folder, info = path.parent, _seqinfo(path)
        boxes = read_boxes(folder / 'gt/gt.txt', GT_COLUMNS)
        images: list[dict] = []
        for frame in range(1, int(info['seqLength']) + 1):
            image = folder / info['imDir'] / f'{frame:06}{info["imExt"]}'
            if not image.is_file():
                raise FileNotFoundError(
                    f'{image} does not exist, but {path} says that there are '
                    f'{info["seqLength"]} frames'
                )
            raw = dict(
                img_id=len(images),
                frame_id=frame - 1,
                file_name=str(image.relative_to(self.data_root)),
                width=int(info['imWidth']),
                height=int(info['imHeight']),
            )
            rows = boxes.get(frame, np.empty((0, GT_COLUMNS)))
            images.append(
                self.parse_data_info(
                    dict(raw_img_info=raw, raw_ann_info=[_annotation(row) for row in rows])
                )
            )
        return dict(video_id=video_id, images=images, video_length=len(images))


def _seqinfo(path: Path) -> dict[str, str]:
    parser = ConfigParser()
    # Names keep their capitals.
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read(path)
        info = dict(parser['Sequence'])
        missing = {'imDir', 'seqLength', 'imWidth', 'imHeight', 'imExt'} - set(info)
    except (ConfigError, KeyError) as error:
        missing = {f'[Sequence] ({type(error).__name__})'}
    if missing:
        raise ValueError(f'{path} lacks {", ".join(sorted(missing))}')
    return info


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


def write_digits_mot(root: str | os.PathLike, clips: int, frames: int) -> Path:
    """Write clips of digits in the layout above, unless they are there.

    Clip i depends on i and the number of frames alone, and shows four digits
    that pre-training never saw; boxes are those of what is seen of them.
    ``det.txt`` holds them moved by about a pixel, without those that are
    covered by more than a quarter and without one in ten of the others.

    Args:
        root: the sequences come into ``root/{clips}x{frames}``.
        clips: how many, > 0.
        frames: of each clip, > 0.

    Returns:
        The folder of the sequences.

    Raises:
        ValueError: no clip or no frame.
    """
    if clips < 1:
        raise ValueError(f'clips must be at least 1, got {clips}')
    folder = Path(root) / f'{clips}x{frames}'
    if folder.exists():
        return folder
    digits = [(row['img'], row['gt_label']) for row in Digits('test').load_data_list()]
    with whole_folder(folder) as aside:
        for i in range(clips):
            rng = np.random.default_rng((3, i))
            images, ids, _ = draw_clip(digits, rng, frames, OBJECTS)
            _write_sequence(aside / f'digits{i:03}', images, ids, rng)
    return folder


def _write_sequence(
    folder: Path, images: np.ndarray, ids: np.ndarray, rng: np.random.Generator
) -> None:
    for name in ('img1', 'gt', 'det'):
        (folder / name).mkdir(parents=True)
    for t, image in enumerate(images, 1):
        Image.fromarray(image).save(folder / f'img1/{t:06}.png')
    (folder / 'seqinfo.ini').write_text(
        f'[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=30\n'
        f'seqLength={len(images)}\nimWidth={SIZE}\nimHeight={SIZE}\n'
        'imExt=.png\n'
    )
    truth = boxes_of(ids)
    seen = (truth[:, 8] >= VISIBLE) & (rng.random(len(truth)) >= MISSED)
    found = truth[seen, :DET_COLUMNS]
    found[:, 1] = -1
    found[:, 2:6] += rng.normal(0, JITTER, (len(found), 4))
    for name, rows in (('gt/gt.txt', truth), ('det/det.txt', found)):
        lines = (','.join(f'{value:.6g}' for value in row) for row in rows)
        (folder / name).write_text(''.join(f'{line}\n' for line in lines))


def boxes_of(ids: np.ndarray) -> np.ndarray:
    """Rows of ``gt.txt``, (N, 9), of pixels (T, H, W) of objects 1, 2, ...

    Visibility is the share of the most pixels that the object ever shows.
    """
    most = {i: (ids == i).sum((1, 2)).max() for i in range(1, int(ids.max()) + 1)}
    rows = []
    for t, frame in enumerate(ids, 1):
        for i, whole in most.items():
            ys, xs = np.nonzero(frame == i)
            if len(ys):
                rows.append(
                    [
                        t,
                        i,
                        xs.min(),
                        ys.min(),
                        np.ptp(xs) + 1,
                        np.ptp(ys) + 1,
                        1,
                        1,
                        len(ys) / whole,
                    ]
                )
    return np.array(rows, float)


@DATASETS.register_module()
class DigitsMOT(MOTSequences):
    """Sequences of four flying digits; nothing is downloaded.

    Args:
        data_root: folder, written on first use.
        clips: how many.
        frames: of each clip.
        kwargs: of :class:`MOTSequences`.
    """

    def __init__(self, data_root: str, clips: int, frames: int, **kwargs) -> None:
        folder = write_digits_mot(data_root, clips, frames)
        super().__init__(data_root=str(folder), **kwargs)
