"""A detector on canvases of digits, without compiled ops."""

import pytest
import torch
from digits_demos import write_coco
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from pycocotools.coco import COCO
from repository import REPOSITORY

# First: it stands in for the ops that mmdet asks mmcv for.
import mmentropy.transfer  # noqa: F401

from mmdet.registry import DATASETS, MODELS  # isort: skip

CONFIG = REPOSITORY / 'configs/benchmarks/detection/mask-rcnn_r18s_1xb8_8e_digits.py'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('digits_coco')
    write_coco(root, dict(train=6, val=6))
    return root


@pytest.mark.slow
def test_a_detector_trains_and_detects(root):
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model).train()
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.update(num_workers=0, persistent_workers=False)
            loader.dataset.update(data_root=str(root))
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
    assert cfg.val_evaluator.ann_file == f'{val.data_root}/{val.ann_file}'
    assert cfg.train_dataloader.dataset.ann_file == 'annotations/instances_train.json'
    content = COCO(root / val.ann_file)
    assert len(content.getCatIds()) == cfg.model.roi_head.bbox_head.num_classes == 10
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dict(val, data_root=str(root), pipeline=[]))
    assert dataset.metainfo['classes'] == tuple('0123456789')
    row = dataset.get_data_info(0)
    assert row['img_path'] == f'{root}/val/00000.png'
    first = content.loadAnns(content.getAnnIds([0]))[0]
    assert row['instances'][0]['bbox_label'] == first['category_id'] - 1
