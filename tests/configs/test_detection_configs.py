"""Detectors on backbones of ours: names, numbers, weights, one step."""

import copy
import logging
import re
import shutil
from functools import cache

import pytest
import torch
from forked import python
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from repository import REPOSITORY
from torch.nn.modules.batchnorm import _BatchNorm

# First: it stands in for the ops that mmdet asks mmcv for.
import mmentropy.transfer  # noqa: F401
from mmentropy.datasets.required_files import check_data
from mmentropy.weights import backbone as weights_of_backbones

from mmdet.registry import DATASETS, MODELS  # isort: skip
from mmdet.structures import DetDataSample  # isort: skip
from mmdet.structures.mask import BitmapMasks  # isort: skip

ROOT = REPOSITORY / 'configs/benchmarks/detection'
NAMES = sorted(p.name for p in ROOT.glob('*.py') if 'digits' not in p.name and '_vit' not in p.name)
C4 = [name for name in NAMES if '-c4_' in name]
VOC = [name for name in NAMES if 'voc' in name]
COCO = [name for name in NAMES if 'coco' in name]
STEPPED = (
    'faster-rcnn_r50-c4_8xb2_24k_voc0712.py',
    'mask-rcnn_r50-fpn_8xb2_1x_coco.py',
    'retinanet_r50-fpn_8xb2_1x_coco.py',
)
NAME = re.compile(
    r'(?P<method>faster-rcnn|mask-rcnn|retinanet)_r50-(?P<neck>'
    r'c4|fpn)_(?P<gpus>\d+)xb(?P<batch>\d+)_(?P<length>\d+)'
    r'(?P<unit>[xk])_(?P<data>coco|voc07|voc0712)\.py'
)
METHODS = {'faster-rcnn': 'FasterRCNN', 'mask-rcnn': 'MaskRCNN', 'retinanet': 'RetinaNet'}


@cache
def load(name):
    return Config.fromfile(ROOT / name)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """What pre-training saves: mmpretrain's ResNet-50 and more."""
    torch.manual_seed(1)
    backbone = PRETRAIN_MODELS.build(dict(type='mmpretrain.ResNet', depth=50))
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_()
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    state['neck.fc.weight'] = torch.zeros(1)
    path = tmp_path_factory.mktemp('checkpoint') / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta={}), path)
    return path


def test_all_are_here():
    assert len(NAMES) == 7 and len(C4) == 4 and len(VOC) == 2
    assert set(STEPPED) < set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_name_and_numbers(name):
    cfg, found = load(name), NAME.fullmatch(name)
    batch, length = int(found['batch']), int(found['length'])
    assert cfg.model.type == METHODS[found['method']]
    assert cfg.model.backbone.depth == 50
    assert ('neck' in cfg.model) == (found['neck'] == 'fpn')
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * int(found['gpus'])
    warm_up, steps = cfg.param_scheduler
    if found['unit'] == 'k':
        total = cfg.train_cfg.max_iters
        assert total == length * 1000
        assert cfg.train_cfg.type == 'IterBasedTrainLoop'
        assert steps.milestones == [total * 3 // 4, total * 11 // 12]
        assert total % cfg.train_cfg.val_interval == 0
        assert cfg.default_hooks.checkpoint.interval == (cfg.train_cfg.val_interval)
        assert warm_up.end == 100
    else:
        total = cfg.train_cfg.max_epochs
        assert total == length * 12
        assert steps.milestones == ([8, 11], [16, 22])[length - 1]
    assert steps.end == total
    assert steps.get('by_epoch') == (found['unit'] == 'x')
    assert steps.get('gamma', 0.1) == 0.1
    lr = 0.01 if found['method'] == 'retinanet' else 0.02
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4)
    assert cfg.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    assert cfg.custom_imports.imports == ['mmentropy', 'mmentropy.transfer']


def test_moco_s_numbers():
    cfg = load(STEPPED[0])
    assert cfg.param_scheduler[1].milestones == [18000, 22000]
    assert cfg.model.roi_head.bbox_head.num_classes == 20
    assert cfg.val_evaluator.iou_thrs[::5] == [0.5, 0.75]
    assert len(cfg.val_evaluator.iou_thrs) == 10


@pytest.mark.parametrize('name', NAMES)
def test_images(name):
    """Multi-scale training but for RetinaNet, 800 in tests, RGB statistics."""
    cfg = load(name)
    data = cfg.train_dataloader.dataset
    pipeline = data.get('datasets', [data])[0].pipeline
    first = dict(voc=480, coco=640)['voc' if name in VOC else 'coco']
    if 'retinanet' not in name:
        assert pipeline[2].type == 'RandomChoiceResize'
        assert [tuple(s) for s in pipeline[2].scales] == [(1333, s) for s in range(first, 801, 32)]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.pipeline[1].scale) == (1333, 800)
    # The statistics of pre-training.
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb
    assert preprocessor.get('pad_mask', False) == ('mask' in name)


@pytest.mark.parametrize('name', NAMES)
def test_full_model_trains_all_of_its_backbone(name):
    with torch.device('meta'):
        model = MODELS.build(copy.deepcopy(load(name).model)).train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert {type(m) for m in norms} == {MODELS.get('GlobalBN')}
    assert all(m.training for m in norms)
    assert all(p.requires_grad for p in model.parameters())
    count = dict(c4=54, fpn=53)['c4' if name in C4 else 'fpn']
    heads = {'mask-rcnn_r50-fpn': 8 + 4 + 4, 'retinanet_r50-fpn': 8}
    assert len(norms) == count + heads.get(name.split('_8xb2')[0], 0)


@pytest.mark.slow
@pytest.mark.parametrize('name', [STEPPED[0], STEPPED[1]])
def test_every_weight_of_the_checkpoint_arrives(name, checkpoint):
    cfg = copy.deepcopy(load(name).model)
    cfg.backbone.init_cfg.checkpoint = str(checkpoint)
    if name in C4:
        cfg.roi_head.shared_head.init_cfg.checkpoint = str(checkpoint)
    model = MODELS.build(cfg)
    model.init_weights()
    parts = [model.backbone]
    if name in C4:
        head = model.roi_head.shared_head
        parts.append(head)
        # The extra norm follows C5 and starts as an identity.
        assert head.norm.weight.eq(1).all() and head.norm.bias.eq(0).all()
        del head.norm
    loaded = {k: v for part in parts for k, v in part.state_dict().items()}
    saved = {
        k.removeprefix('backbone.'): v
        for k, v in torch.load(checkpoint)['state_dict'].items()
        if k.startswith('backbone.')
    }
    assert loaded.keys() == saved.keys() and len(saved) == 318
    for key, value in saved.items():
        assert torch.equal(loaded[key], value), key


@pytest.mark.slow
@pytest.mark.parametrize(
    'part, message',
    [
        ('backbone', r'model\.backbone\.init_cfg\.checkpoint=PATH'),
        ('roi_head.shared_head', r'model\.roi_head\.shared_head\.init_cfg\.checkpoint=PATH'),
    ],
)
def test_without_checkpoint(part, message):
    model = MODELS.build(copy.deepcopy(load(STEPPED[0]).model))
    with pytest.raises(ValueError, match=message):
        model.get_submodule(part).init_weights()


@pytest.mark.slow
def test_another_depth_is_refused(checkpoint):
    cfg = copy.deepcopy(load(STEPPED[0]).model)
    cfg.backbone.update(depth=101)
    cfg.backbone.init_cfg.checkpoint = str(checkpoint)
    with pytest.raises(ValueError, match='keys match'):
        MODELS.build(cfg.backbone).init_weights()
    cfg.roi_head.shared_head.update(depth=18)
    cfg.roi_head.shared_head.init_cfg.checkpoint = str(checkpoint)
    with pytest.raises(ValueError, match='keys match'):
        MODELS.build(cfg.roi_head.shared_head).init_weights()


def c5(depth, checkpoint):
    """The shared head of a recipe, of a depth, and its config to be filled from a checkpoint."""
    cfg = copy.deepcopy(load(STEPPED[0]).model.roi_head.shared_head)
    cfg.update(depth=depth)
    cfg.init_cfg.checkpoint = str(checkpoint)
    return MODELS.build(cfg)


def test_a_whole_c5_is_taken_without_a_warning(tmp_path, monkeypatch):
    """It is a tenth of the keys of a ResNet-101, and only the norm that follows it is new."""
    weights = PRETRAIN_MODELS.build(dict(type='ResNet', depth=18)).layer4.state_dict()
    state = {f'layer4.{k}': v for k, v in weights.items()}
    state |= {f'layer3.{i}.bn1.weight': torch.zeros(1) for i in range(9 * len(state))}
    torch.save({f'backbone.{k}': v for k, v in state.items()}, tmp_path / 'a.pth')
    logged = []
    monkeypatch.setattr(weights_of_backbones, 'print_log', lambda *a, **k: logged.append((a, k)))
    head = c5(18, tmp_path / 'a.pth')
    head.init_weights()
    (((line, *_), options),) = logged
    assert '30 of 30 keys match' in line and options['level'] == logging.INFO
    for key, value in weights.items():
        assert torch.equal(head.layer4.state_dict()[key], value), key
    assert head.norm.weight.eq(1).all()


@pytest.mark.parametrize(
    'left_out, message',
    [
        ('layer4.0.conv1.weight', r'29 of 30 keys match.* layer4\.0\.conv1\.weight'),
        ('layer4.', r'has no layer4\.\*'),
    ],
)
def test_an_incomplete_c5_is_refused(left_out, message, tmp_path):
    state = PRETRAIN_MODELS.build(dict(type='ResNet', depth=18)).state_dict()
    state = {k: v for k, v in state.items() if not k.startswith(left_out)}
    torch.save({f'backbone.{k}': v for k, v in state.items()}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message) as error:
        c5(18, tmp_path / 'a.pth').init_weights()
    assert '\n' not in str(error.value)


def test_the_norm_follows_c5():
    cfg = copy.deepcopy(load(STEPPED[0]).model.roi_head.shared_head)
    cfg.update(depth=18, init_cfg=None)
    head = MODELS.build(cfg)
    head.train()
    out = head(torch.randn(4, 256, 6, 6))
    assert out.shape == (4, 512, 3, 3)
    # After it, not before the last ReLU: zero mean, unit variance.
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(512), atol=1e-5)
    assert out.min() < 0
    head.eval()
    assert not head.norm.training


def shallow(cfg):
    """ResNet-18 in place of ResNet-50, few regions."""
    model = copy.deepcopy(cfg.model)
    model.backbone.update(depth=18, init_cfg=None)
    if 'neck' in model:
        model.neck.in_channels = [64, 128, 256, 512]
    else:
        model.rpn_head.update(in_channels=256, feat_channels=256)
        model.roi_head.shared_head.update(depth=18, init_cfg=None)
        model.roi_head.bbox_roi_extractor.out_channels = 256
        model.roi_head.bbox_head.in_channels = 512
    if 'roi_head' in model:
        model.train_cfg.rcnn.sampler.num = 16
        model.test_cfg.rpn.max_per_img = 16
    return model


def sample(size):
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [30.0, 20.0, 60.0, 60.0]])
    masks = torch.zeros(2, size, size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    shape = (size, size)
    found = DetDataSample(
        metainfo=dict(
            img_shape=shape, ori_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0)
        )
    )
    found.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 3]), masks=BitmapMasks(masks.numpy(), *shape)
    )
    found.ignored_instances = InstanceData(
        bboxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.long)
    )
    return found


@pytest.mark.slow
@pytest.mark.parametrize('name', STEPPED)
def test_one_step_and_one_prediction(name):
    cfg = load(name)
    model = MODELS.build(shallow(cfg)).train()
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    for group in wrapper.optimizer.param_groups:
        assert group['lr'] == cfg.optim_wrapper.optimizer.lr
    before = {k: v.clone() for k, v in model.named_parameters()}
    images = [torch.randint(256, (3, 64, 64), dtype=torch.uint8)] * 2
    data = dict(inputs=images, data_samples=[sample(64), sample(64)])
    losses = model.train_step(data, wrapper)
    assert torch.isfinite(losses['loss'])
    count = dict(FasterRCNN=4, MaskRCNN=5, RetinaNet=2)[cfg.model.type]
    assert len([k for k in losses if k.startswith('loss_')]) == count
    for key in ('backbone.conv1.weight', 'backbone.bn1.weight'):
        assert not torch.equal(before[key], model.get_parameter(key)), key
    model.eval()
    with torch.no_grad():
        (result,) = model.val_step(dict(inputs=images[:1], data_samples=[sample(64)]))
    instances = result.pred_instances
    assert instances.bboxes.shape == (len(instances), 4)
    assert ('masks' in instances) == name.startswith('mask')


@pytest.fixture(scope='module')
def devkit(tmp_path_factory):
    """Three images of each year, one object and a difficult one each."""
    root = tmp_path_factory.mktemp('VOCdevkit')
    objects = ''.join(
        f'<object><name>{name}</name><difficult>{difficult}</difficult>'
        '<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>48</ymax>'
        '</bndbox></object>'
        for name, difficult in (('cat', 0), ('dog', 1))
    )
    for year, splits in (('VOC2007', ('trainval', 'test')), ('VOC2012', ('trainval',))):
        for folder in ('ImageSets/Main', 'Annotations', 'JPEGImages'):
            (root / year / folder).mkdir(parents=True)
        for split in splits:
            ids = [f'{split}{i}' for i in range(3)]
            (root / year / f'ImageSets/Main/{split}.txt').write_text('\n'.join(ids))
            for name in ids:
                (root / year / f'Annotations/{name}.xml').write_text(
                    '<annotation><size><width>64</width><height>64</height>'
                    f'<depth>3</depth></size>{objects}</annotation>'
                )
    return root


@pytest.mark.slow
@pytest.mark.parametrize('name, images', [(VOC[0], 6), (VOC[1], 3)])
def test_voc(name, images, devkit):
    cfg = copy.deepcopy(load(name))
    for part in cfg.train_dataloader.dataset.datasets:
        part.update(data_root=str(devkit), pipeline=[])
    train = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(train) == images
    assert len(train.metainfo['classes']) == 20
    val = cfg.val_dataloader.dataset
    val.update(data_root=str(devkit), pipeline=[])
    dataset = DATASETS.build(val)
    assert len(dataset) == 3
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    # A box with intersection over union of about 0.8 with the truth.
    result = sample(64)
    result.gt_instances = result.gt_instances[:1]
    result.pred_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]),
        scores=torch.ones(1),
        labels=torch.tensor([1]),
    )
    evaluator.process([result])
    metrics = evaluator.evaluate(1)
    assert metrics['pascal_voc/AP50'] == metrics['pascal_voc/AP75'] == 1
    assert metrics['pascal_voc/AP95'] == 0
    assert metrics['pascal_voc/mAP'] == pytest.approx(0.7)


def coco(root, split):
    (root / split).mkdir(parents=True)
    (root / 'annotations').mkdir(exist_ok=True)
    (root / f'annotations/instances_{split}.json').write_text('{}')


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_missing_data_is_found(name, devkit, tmp_path):
    """Every folder and list that the config reads is asked for by name."""
    cfg = load(name)
    root = tmp_path / cfg.val_dataloader.dataset.data_root.split('/')[1]
    if 'coco' in name:
        coco(root, 'train2017')
        coco(root, 'val2017')
        text = 'CocoDataset', 'data.md#coco'
        entries = [
            'train2017',
            'val2017',
            'annotations/instances_train2017.json',
            'annotations/instances_val2017.json',
        ]
    else:
        shutil.copytree(devkit, root)
        text = 'VOCDataset', 'data.md#pascal-voc-for-detection'
        years = ['VOC2007'] + ['VOC2012'] * ('0712' in name)
        entries = ['VOC2007/ImageSets/Main/test.txt'] + [
            f'{year}/{part}'
            for year in years
            for part in ('JPEGImages', 'Annotations', 'ImageSets/Main/trainval.txt')
        ]
    cfg = Config.fromstring(cfg.pretty_text.replace("'data/", f"'{tmp_path}/"), '.py')
    check_data(cfg)
    for entry in entries:
        (root / entry).rename(tmp_path / 'elsewhere')
        with pytest.raises(FileNotFoundError) as error:
            check_data(cfg)
        for part in (f'{entry} is missing', str(root), *text):
            assert part in str(error.value)
        (tmp_path / 'elsewhere').rename(root / entry)


@pytest.mark.slow
def test_train_without_data(tmp_path):
    done = python(REPOSITORY / 'tools/train.py', ROOT / NAMES[0], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f'error: VOCDataset in {tmp_path}/data/VOCdevkit: the folder is '
        'missing; put VOC2007 and VOC2012 with JPEGImages, Annotations and '
        'ImageSets there or set data_root, see '
        'docs/data.md#pascal-voc-for-detection'
    )
