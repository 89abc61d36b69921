"""Canvases of digits, and a detector on them without compiled ops."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from repository import REPOSITORY

import mmentropy.transfer.digits_coco as digits_module
from mmentropy.datasets import Digits
from mmentropy.transfer.digits_coco import draw_canvas, write_digits_coco

CONFIG = REPOSITORY / ('configs/benchmarks/detection/mask-rcnn_r18s_1xb8_8e_digits.py')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('digits_coco')
    for split in ('train', 'val'):
        write_digits_coco(root, split, 6)
    return root


@pytest.mark.slow
def test_written_once_and_always_the_same(root, tmp_path):
    again = write_digits_coco(tmp_path, 'train', 6)
    first = root / 'annotations/train_6.json'
    assert again.read_text() == first.read_text()
    for path in (root / 'train_6').iterdir():
        other = tmp_path / 'train_6' / path.name
        assert path.read_bytes() == other.read_bytes()
    # Nothing is left of what was written aside.
    assert {p.name for p in tmp_path.iterdir()} == {'annotations', 'train_6'}
    assert [p.name for p in again.parent.iterdir()] == ['train_6.json']
    stamp = first.stat().st_mtime_ns
    write_digits_coco(root, 'train', 6)
    assert first.stat().st_mtime_ns == stamp
    assert (root / 'annotations/val_6.json').read_text() != first.read_text()


def test_boxes_and_masks_are_those_of_the_drawn_digits(root):
    content = json.loads((root / 'annotations/train_6.json').read_text())
    per_image = {}
    for item in content['annotations']:
        mask = coco_mask.decode(item['segmentation'])
        image = np.asarray(Image.open(root / f'train_6/{item["image_id"]:05}.png'))
        ys, xs = np.nonzero(mask)
        assert item['bbox'] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert item['area'] == mask.sum() > 20
        # The strokes are bright, the ground is not.
        assert image[mask > 0].min() >= 79
        per_image.setdefault(item['image_id'], []).append(mask)
    assert sorted(per_image) == list(range(6))
    for i, masks in per_image.items():
        assert 1 <= len(masks) <= 4
        assert np.sum(masks, axis=0).max() == 1
        image = np.asarray(Image.open(root / f'train_6/{i:05}.png'))
        assert image[np.sum(masks, axis=0) == 0].mean() < 50


def test_labels_are_those_of_the_digits(root):
    content = json.loads((root / 'annotations/val_6.json').read_text())
    digits = [(row['img'], row['gt_label']) for row in Digits('test').load_data_list()]
    drawn = [
        pair for i in range(6) for pair in draw_canvas(digits, np.random.default_rng((1, i)))[1]
    ]
    assert len(drawn) == len(content['annotations'])
    names = {c['id']: c['name'] for c in content['categories']}
    for (label, mask), item in zip(drawn, content['annotations']):
        assert names[item['category_id']] == str(label)
        assert np.array_equal(coco_mask.decode(item['segmentation']), mask)


def test_a_failed_drawing_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError('disk full')

    monkeypatch.setattr(digits_module, '_draw_split', full)
    with pytest.raises(OSError, match='disk full'):
        write_digits_coco(tmp_path, 'train', 2)
    assert [p.name for p in tmp_path.iterdir()] == ['annotations']
    assert not list((tmp_path / 'annotations').iterdir())


@pytest.mark.parametrize(
    'split, images, message',
    [
        ('test', 3, 'one of train, val'),
        ('train', 0, 'an integer >= 1'),
    ],
)
def test_bad_arguments(split, images, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_digits_coco(tmp_path, split, images)


@pytest.mark.slow
def test_a_detector_trains_and_detects(root):
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model).train()
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.update(num_workers=0, persistent_workers=False)
            loader.dataset.update(data_root=str(root), images=6)
        data = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
        data = model.data_preprocessor(data, True)
        losses = model(**data, mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
        assert torch.isfinite(loss)
        assert {'loss_cls', 'loss_mask', 'loss_rpn_bbox'} < set(losses)
        assert all(p.grad is not None for p in model.parameters())
        model.eval()
        data = next(iter(Runner.build_dataloader(cfg.val_dataloader)))
        with torch.no_grad():
            results = model.val_step(data)
    assert len(results) == 6
    instances = results[0].pred_instances
    assert instances.masks.shape[1:] == (64, 64)
    assert instances.bboxes.shape[1] == 4


def test_the_config_fits_its_data(root):
    cfg = Config.fromfile(CONFIG)
    val = cfg.val_dataloader.dataset
    assert cfg.val_evaluator.ann_file == (f'{val.data_root}/annotations/val_{val.images}.json')
    assert len(COCO(root / 'annotations/val_6.json').getCatIds()) == 10
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(val, data_root=str(root), images=6, pipeline=[]))
    instance = dataset.get_data_info(0)['instances'][0]
    content = json.loads((root / 'annotations/val_6.json').read_text())
    first = content['annotations'][0]
    assert instance['bbox_label'] == first['category_id'] - 1
    assert cfg.model.roi_head.bbox_head.num_classes == 10
