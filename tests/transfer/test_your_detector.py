"""The detector of docs/use/transfer.md on one's own images takes data, classes and weights."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from PIL import Image
from repository import REPOSITORY

# First: it stands in for the ops that mmdet asks mmcv for.
import mmentropy.transfer  # noqa: F401

from mmdet.registry import DATASETS, MODELS  # isort: skip

PAGE = REPOSITORY / 'docs/use/transfer.md'


def images(folder, split):
    """Two photos of a dog each, in COCO's format, where dogs have the id 7."""
    (folder / split).mkdir(parents=True)
    files = [dict(id=n, file_name=f'{n}.jpg', width=96, height=64) for n in range(2)]
    for file in files:
        Image.fromarray(np.full((64, 96, 3), 99, np.uint8)).save(folder / split / file['file_name'])
    square = [10, 10, 40, 10, 40, 40, 10, 40]
    found = dict(category_id=7, bbox=[10, 10, 30, 30], area=900, iscrowd=0, segmentation=[square])
    annotations = [dict(found, id=n, image_id=n) for n in range(2)]
    categories = [dict(id=3, name='cat'), dict(id=7, name='dog')]
    text = json.dumps(dict(images=files, annotations=annotations, categories=categories))
    (folder / f'{split}.json').write_text(text)


@pytest.mark.slow
def test_the_page_s_detector_takes_data_classes_and_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r'```python\n# detector.py\n(.*?)```', PAGE.read_text(), re.DOTALL)
    (tmp_path / 'detector.py').write_text(code)
    cfg = Config.fromfile('detector.py')
    for split in ('train', 'val'):
        images(tmp_path / 'data/mine', split)
    backbone = PRETRAIN_MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    path = tmp_path / cfg.model.backbone.init_cfg.checkpoint
    path.parent.mkdir(parents=True)
    torch.save(dict(state_dict=state, meta={}), path)

    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
        data = {n: DATASETS.build(cfg[f'{n}_dataloader'].dataset) for n in ('train', 'val')}

    for name, value in backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
    assert model.roi_head.bbox_head.fc_cls.out_features == 1 + 2
    assert model.roi_head.mask_head.conv_logits.out_channels == 2
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == 'data/mine/val.json'
    for name, dataset in data.items():
        assert len(dataset) == 2
        assert f'/{name}/' in dataset.get_data_info(0)['img_path']
    instances = data['train'][0]['data_samples'].gt_instances
    assert instances.labels.tolist() == [1]
    assert len(instances.masks) == 1
