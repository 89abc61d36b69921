"""Segmentors on backbones of ours: names, numbers, weights, one step."""

import copy
import re
from functools import cache

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from PIL import Image
from repository import REPOSITORY
from torch.nn.modules.batchnorm import _BatchNorm

# First: mmseg asks mmcv for its ops.
import mmentropy  # noqa: F401
from mmentropy.datasets.required_files import check_data

pytest.importorskip('mmseg', reason="pip install -e '.[onedl,seg]'")
from mmseg.registry import MODELS  # isort: skip  # noqa: E402
from mmseg.utils import register_all_modules  # isort: skip  # noqa: E402

ROOT = REPOSITORY / 'configs/benchmarks/segmentation'
NAMES = sorted(p.name for p in ROOT.glob('*.py'))
NAME = re.compile(
    r'fcn_r50-d8_(?P<gpus>\d+)xb(?P<batch>\d+)_(?P<length>\d+)k_'
    r'(?P<data>voc12aug|cityscapes)\.py'
)
CITYSCAPES, VOC = NAMES


@cache
def load(name):
    return Config.fromfile(ROOT / name)


@pytest.fixture(autouse=True)
def scope():
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """A ResNet-18 of mmpretrain, and a checkpoint with it and more."""
    torch.manual_seed(1)
    backbone = PRETRAIN_MODELS.build(
        dict(type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3))
    )
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    state['neck.fc.weight'] = torch.zeros(1)
    path = tmp_path_factory.mktemp('checkpoint') / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta={}), path)
    backbone.eval()  # returns nothing
    return backbone, str(path)


def small(name, checkpoint=None):
    """The config with ResNet-18 and few channels."""
    cfg = copy.deepcopy(load(name))
    model = cfg.model
    model.backbone.depth = 18
    model.backbone.init_cfg.checkpoint = checkpoint
    model.decode_head.update(in_channels=512, channels=16)
    model.auxiliary_head.update(in_channels=256, channels=16)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_name_and_numbers(name):
    cfg, found = load(name), NAME.fullmatch(name)
    batch, iters = int(found['batch']), int(found['length']) * 1000
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * int(found['gpus'])
    assert cfg.train_cfg.max_iters == iters
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.end, schedule.by_epoch) == ('PolyLR', iters, False)
    assert cfg.default_hooks.checkpoint.interval == iters // 10
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005
    )
    assert cfg.custom_imports.imports == ['mmentropy']
    side = dict(voc12aug=512, cityscapes=769)[found['data']]
    model, data = cfg.model, cfg.train_dataloader.dataset
    crops = [
        step
        for part in data.get('datasets', [data])
        for step in part.pipeline
        if step.type == 'RandomCrop'
    ]
    assert len(crops) == len(data.get('datasets', [data]))
    for size in (model.data_preprocessor.size, *(c.crop_size for c in crops)):
        assert tuple(size) == (side, side)
    # The statistics of pre-training.
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.data_preprocessor.bgr_to_rgb


def test_large_images_are_tested_by_parts():
    model = load(CITYSCAPES).model
    assert model.test_cfg == dict(mode='slide', crop_size=(769, 769), stride=(513, 513))
    assert model.decode_head.align_corners
    assert model.auxiliary_head.align_corners


@pytest.mark.slow
@pytest.mark.parametrize('name, classes', [(VOC, 21), (CITYSCAPES, 19)])
def test_full_model_trains_all_of_its_backbone(name, classes):
    with torch.device('meta'):
        model = MODELS.build(copy.deepcopy(load(name).model)).train()
        features = model.backbone(torch.empty(2, 3, 64, 64))
    assert [f.shape[1:] for f in features] == [
        (256, 16, 16),
        (512, 8, 8),
        (1024, 8, 8),
        (2048, 8, 8),
    ]
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert {type(m) for m in norms} == {MODELS.get('GlobalBN')}
    # Of the backbone and of 3 + 1 convolutions in the heads.
    assert len(norms) == 53 + 4
    assert all(m.training for m in norms)
    assert all(p.requires_grad for p in model.parameters())
    for head in (model.decode_head, model.auxiliary_head):
        assert head.conv_seg.out_channels == classes


def test_checkpoint_arrives_and_computes_the_same(pretrained):
    """All weights; and outputs, as long as nothing is dilated."""
    backbone, path = pretrained
    model = MODELS.build(small(VOC, path).model)
    model.init_weights()
    model.eval()
    found = model.backbone.state_dict()
    assert found.keys() == backbone.state_dict().keys()
    for key, value in backbone.state_dict().items():
        assert torch.equal(found[key], value), key
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, outputs = backbone(image), model.backbone(image)
    for i in (0, 1):
        torch.testing.assert_close(outputs[i], expected[i])
    assert outputs[3].shape == (1, 512, 8, 8)
    assert expected[3].shape == (1, 512, 2, 2)


@pytest.mark.parametrize('name', NAMES)
def test_without_checkpoint(name):
    model = MODELS.build(small(name).model)
    with pytest.raises(ValueError, match=r'model\.backbone\.init_cfg\.checkpoint=PATH'):
        model.init_weights()


@pytest.fixture(scope='module')
def devkit(tmp_path_factory):
    """Two images to train on, one of the additional ones, two to test on."""
    root = tmp_path_factory.mktemp('VOC2012')
    rng = np.random.default_rng(0)
    for folder in (
        'JPEGImages',
        'SegmentationClass',
        'SegmentationClassAug',
        'ImageSets/Segmentation',
    ):
        (root / folder).mkdir(parents=True)
    for split, ids in dict(train='ab', aug='c', val='de').items():
        (root / f'ImageSets/Segmentation/{split}.txt').write_text('\n'.join(ids))
        for name in ids:
            # A person at the left and a border that does not count.
            mask = np.zeros((48, 64), np.uint8)
            mask[:, :30] = 15
            mask[:, 30:32] = 255
            image = rng.integers(256, size=(48, 64, 3), dtype=np.uint8)
            image[mask == 15] //= 4
            Image.fromarray(image).save(root / f'JPEGImages/{name}.jpg')
            folder = 'SegmentationClass' + 'Aug' * (split == 'aug')
            Image.fromarray(mask).save(root / folder / f'{name}.png')
    return str(root)


@pytest.mark.slow
def test_step_and_evaluation(devkit, pretrained, tmp_path):
    """A step by the config's own pipelines; mIoU counted by hand."""
    cfg = small(VOC, pretrained[1])
    cfg.work_dir = str(tmp_path)
    cfg.model.data_preprocessor.size = (32, 32)
    parts = cfg.train_dataloader.dataset.datasets
    for part in (*parts, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        part.data_root = devkit
        for step in part.pipeline:
            if 'scale' in step:
                step.scale = (64, 32)
            for key in {'crop_size', 'size'} & step.keys():
                step[key] = (32, 32)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=1, val_interval=10)
    cfg.randomness = dict(seed=0)
    runner = Runner.from_cfg(cfg)
    assert len(runner.train_dataloader.dataset) == 3
    runner.train()
    model, before = runner.model, pretrained[0]
    for key in ('conv1.weight', 'bn1.weight', 'layer4.1.conv2.weight'):
        found = model.backbone.get_parameter(key)
        assert not torch.equal(found, before.get_parameter(key)), key

    # After a step all would be background. Some of it is a person:
    with torch.no_grad():
        last = model.decode_head.conv_seg
        last.weight.normal_()
        last.bias.fill_(-1e3)[[0, 15]] = 0
    metrics = runner.val_loop.run()
    both, either = torch.zeros(21), torch.zeros(21)
    model.eval()
    for batch in runner.val_dataloader:
        (sample,) = model.test_step(batch)
        truth = sample.gt_sem_seg.data
        found = sample.pred_sem_seg.data
        assert found.shape == truth.shape == (1, 48, 64)
        counts = truth != 255
        for k in range(21):
            both[k] += ((truth == k) & (found == k) & counts).sum()
            either[k] += (((truth == k) | (found == k)) & counts).sum()
    iou = (both / either)[either > 0]
    assert len(iou) == 2 and iou.min() > 0.005
    assert metrics['mIoU'] == pytest.approx(100 * iou.mean().item(), abs=0.01)


# Folder, section, what is said of it, folders of images and lists.
DATA = {
    CITYSCAPES: (
        'cityscapes',
        'cityscapes',
        'CityscapesDataset leftImg8bit/{train,val} gtFine/{train,val}',
        ['leftImg8bit/train', 'leftImg8bit/val', 'gtFine/train', 'gtFine/val'],
    ),
    VOC: (
        'VOCdevkit/VOC2012',
        'pascal-voc-2012-for-segmentation',
        'PascalVOCDataset SegmentationClass, SegmentationClassAug '
        'ImageSets/Segmentation/{train,aug,val}.txt',
        [
            'JPEGImages',
            'SegmentationClass',
            'SegmentationClassAug',
            'ImageSets/Segmentation/train.txt',
            'ImageSets/Segmentation/aug.txt',
            'ImageSets/Segmentation/val.txt',
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_missing_data_is_found(name, tmp_path):
    """Every folder of images and list that the config reads, by its name."""
    folder, section, words, entries = DATA[name]
    cfg = Config.fromstring(load(name).pretty_text.replace("'data/", f"'{tmp_path}/"), '.py')
    root = tmp_path / folder
    for entry in entries:
        (root / entry).mkdir(parents=True)
    check_data(cfg)
    for missing in ('', *entries):
        (root / missing).rename(tmp_path / 'elsewhere')
        with pytest.raises(FileNotFoundError) as error:
            check_data(cfg)
        text = str(error.value)
        assert f'{root}: {missing or "the folder"} is missing; ' in text
        assert text.endswith(f' docs/data.md#{section}')
        assert all(f'{word} ' in text for word in words.split())
        (tmp_path / 'elsewhere').rename(root / missing)
