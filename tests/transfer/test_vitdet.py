"""A plain ViT as the backbone of a detector."""

import copy
import re
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from repository import REPOSITORY
from torch import nn

# First: it stands in for the ops that mmdet asks mmcv for.
from mmentropy.transfer import SimpleFeaturePyramid

from mmdet.registry import MODELS  # isort: skip
from mmdet.structures import DetDataSample  # isort: skip
from mmdet.structures.mask import BitmapMasks  # isort: skip

ROOT = REPOSITORY / 'configs/benchmarks/detection'
NAMES = sorted(p.name for p in ROOT.glob('mask-rcnn_vit*.py'))
NAME = re.compile(
    r'mask-rcnn_(?P<backbone>vits|vitb)_(?P<gpus>\d+)xb'
    r'(?P<batch>\d+)_(?P<epochs>\d+)e_coco\.py'
)
SMALL = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)


@cache
def load(name):
    return Config.fromfile(ROOT / name)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def norm(x, weight, bias):
    """Layer norm of every pixel's channels, (N, C, H, W)."""
    x = x - x.mean(1, keepdim=True)
    x = x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return x * weight[:, None, None] + bias[:, None, None]


def double(x, weight, bias):
    """Every pixel becomes 2 x 2, each a linear map of it."""
    n, _, h, w = x.shape
    out = x.new_zeros(n, weight.shape[1], 2 * h, 2 * w)
    for i in range(2):
        for j in range(2):
            out[:, :, i::2, j::2] = torch.einsum('nchw,cd->ndhw', x, weight[:, :, i, j])
    return out + bias[:, None, None]


def conv3(x, weight):
    """The sum of nine shifted linear maps, zeros around the image."""
    h, w = x.shape[2:]
    x = F.pad(x, (1, 1, 1, 1))
    return sum(
        torch.einsum('nchw,dc->ndhw', x[:, :, i : i + h, j : j + w], weight[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )


def gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def reference(x, params):
    """Detectron2's pyramid, from its parameters in order, without layers."""
    params = iter(params)

    def take(n):
        return [next(params) for _ in range(n)]

    outs = []
    for scale in (4, 2, 1, 0.5):
        y = x
        if scale == 4:
            y = double(gelu(norm(double(y, *take(2)), *take(2))), *take(2))
        elif scale == 2:
            y = double(y, *take(2))
        elif scale == 0.5:
            y = torch.stack([y[:, :, i::2, j::2] for i in range(2) for j in range(2)]).amax(0)
        (weight,) = take(1)
        y = norm(torch.einsum('nchw,dc->ndhw', y, weight[:, :, 0, 0]), *take(2))
        outs.append(norm(conv3(y, *take(1)), *take(2)))
    assert next(params, None) is None
    return *outs, outs[-1][:, :, ::2, ::2]


def test_pyramid_equals_detectron2_s_in_value_and_gradient():
    neck = SimpleFeaturePyramid(8, 6).double()
    with torch.no_grad():
        for param in neck.parameters():
            param.normal_()
    x = torch.randn(2, 8, 6, 4, dtype=torch.double, requires_grad=True)
    inputs = [x, *neck.parameters()]
    outs, expected = neck((x,)), reference(x, inputs[1:])
    assert [tuple(out.shape) for out in outs] == [
        (2, 6, 24, 16),
        (2, 6, 12, 8),
        (2, 6, 6, 4),
        (2, 6, 3, 2),
        (2, 6, 2, 1),
    ]
    for out, other in zip(outs, expected, strict=True):
        assert torch.allclose(out, other, rtol=0, atol=1e-10)
    weights = [torch.randn_like(out) for out in outs]
    grads, others = (
        torch.autograd.grad(sum((w * out).sum() for w, out in zip(weights, found)), inputs)
        for found in (outs, expected)
    )
    for grad, other in zip(grads, others):
        assert torch.allclose(grad, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    'inputs, message',
    [
        ([torch.zeros(1, 8, 2, 2)] * 2, r'got \[\(1, 8, 2, 2\), \(1, 8, 2, 2\)\].*out_indices=-1'),
        ([torch.zeros(1, 8)], r"got \[\(1, 8\)\].*out_type='featmap'"),
    ],
)
def test_pyramid_takes_one_map(inputs, message):
    with pytest.raises(ValueError, match=message):
        SimpleFeaturePyramid(8)(inputs)


def test_pyramid_wants_a_multiple_of_4():
    with pytest.raises(ValueError, match='multiple of 4, got 6'):
        SimpleFeaturePyramid(6)


def test_position_embedding_is_interpolated_in_the_forward_pass():
    """As detectron2's get_abs_pos does: bicubic, from a square to (h, w)."""
    cfg = dict(type='mmpretrain.MoCoV3ViT', arch=SMALL, patch_size=4, out_type='featmap')
    square = MODELS.build(dict(cfg, img_size=16))
    wide = MODELS.build(dict(cfg, img_size=(8, 24)))
    nn.init.normal_(square.pos_embed)
    state = square.state_dict()
    grid = state['pos_embed'][:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(2, 6), mode='bicubic')
    state['pos_embed'] = torch.cat([state['pos_embed'][:, :1], grid.flatten(2).mT], 1)
    wide.load_state_dict(state)
    x = torch.randn(2, 3, 8, 24)
    (out,) = square(x)
    assert out.shape == (2, 16, 2, 6)
    assert torch.allclose(out, wide(x)[0], atol=1e-6)


def test_all_are_here():
    assert {NAME.fullmatch(n)['backbone'] for n in NAMES} == {'vits', 'vitb'}


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_name_and_numbers(name):
    cfg, found = load(name), NAME.fullmatch(name)
    batch, epochs = int(found['batch']), int(found['epochs'])
    pretrained = Config.fromfile(
        REPOSITORY / f'configs/mec/{found["backbone"]}_16xb256_300e_in1k.py'
    )
    ours, theirs = cfg.model.backbone, pretrained.model.backbone
    assert ours.type == f'mmpretrain.{theirs.type}'
    for key in ('arch', 'img_size', 'patch_size'):
        assert ours[key] == theirs[key], key
    data = cfg.train_dataloader
    assert data.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * int(found['gpus'])
    assert cfg.train_cfg.max_epochs * data.dataset.times == epochs
    assert cfg.custom_imports.imports == ['mmentropy', 'mmentropy.transfer']
    # Milestones at 163,889 and 177,546 of 184,375 iterations, in epochs.
    warm_up, steps = cfg.param_scheduler
    ends = [163889 / 184375 * steps.end, 177546 / 184375 * steps.end]
    assert steps.end == cfg.train_cfg.max_epochs
    assert steps.milestones == [round(end) for end in ends]
    assert (warm_up.start_factor, warm_up.end) == (1e-3, 250)
    assert not warm_up.by_epoch


@pytest.mark.parametrize('name', NAMES)
def test_images_are_of_one_size(name):
    cfg = load(name)
    size = cfg.model.data_preprocessor.pad_size_divisor
    _, _, resize, crop, *_ = cfg.train_dataloader.dataset.dataset.pipeline
    assert resize.scale == crop.crop_size == (size, size) == (1024, 1024)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1].scale == (size, size)
    # The statistics of pre-training.
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    images = [torch.full((3, 1024, 9), 255), torch.zeros(3, 30, 1024)]
    batch = preprocessor(dict(inputs=images, data_samples=[sample(9), sample(9)]))['inputs']
    assert batch.shape == (2, 3, 1024, 1024)
    white = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert torch.allclose(batch[0, :, 5, 5], torch.tensor(white), atol=1e-3)
    assert not batch[1, :, 30:].any()


@pytest.mark.parametrize('name', NAMES)
def test_full_model_builds(name):
    """At full size, of shapes alone; every norm that is ours to choose."""
    with torch.device('meta'):
        model = MODELS.build(copy.deepcopy(load(name).model))
        outs = model.neck(model.backbone(torch.empty(1, 3, 1024, 1024)))
    sizes = [1024 // s for s in (4, 8, 16, 32, 64)]
    assert [tuple(out.shape) for out in outs] == [(1, 256, size, size) for size in sizes]
    assert len(model.rpn_head.rpn_conv) == 2
    for convs in (model.roi_head.bbox_head.shared_convs, model.roi_head.mask_head.convs):
        assert len(convs) == 4
        assert all(conv.norm.eps == 1e-6 for conv in convs)
    assert len(model.roi_head.bbox_head.shared_fcs) == 1


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """What pre-training saves: its ViT-S and more."""
    torch.manual_seed(1)
    cfg = Config.fromfile(REPOSITORY / 'configs/mec/vits_16xb256_300e_in1k.py')
    backbone = PRETRAIN_MODELS.build(cfg.model.backbone)
    nn.init.normal_(backbone.pos_embed)
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    state['neck.fc.weight'] = torch.zeros(1)
    path = tmp_path_factory.mktemp('checkpoint') / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta={}), path)
    return path


@pytest.mark.slow
def test_every_weight_of_the_checkpoint_arrives(checkpoint):
    cfg = copy.deepcopy(load('mask-rcnn_vits_8xb8_100e_coco.py').model)
    cfg.backbone.init_cfg.checkpoint = str(checkpoint)
    backbone = MODELS.build(cfg.backbone)
    backbone.init_weights()
    saved = torch.load(checkpoint)['state_dict']
    loaded = backbone.state_dict()
    assert len(loaded) == len(saved) - 1 == 150
    for key, value in loaded.items():
        assert torch.equal(value, saved[f'backbone.{key}']), key
    # Pre-training holds the position embedding and the patches' projection.
    assert all(p.requires_grad for p in backbone.parameters())


@pytest.mark.slow
def test_without_checkpoint():
    backbone = MODELS.build(copy.deepcopy(load(NAMES[0]).model.backbone))
    with pytest.raises(ValueError, match=r'model\.backbone\.init_cfg\.checkpoint=PATH'):
        backbone.init_weights()


def rate(name, layers, decay=0.7):
    """get_vit_lr_decay_rate, facebookresearch/detectron2@02b5c4e2:

    detectron2/modeling/backbone/vit.py; its class token is not trained.
    """
    depth = layers + 1
    if name in ('backbone.pos_embed', 'backbone.cls_token') or (
        name.startswith('backbone.patch_embed.')
    ):
        depth = 0
    elif name.startswith('backbone.layers.'):
        depth = int(name.split('.')[2]) + 1
    return decay ** (layers + 1 - depth)


class Holder(nn.Module):
    """What has a submodule: DistributedDataParallel, another detector."""

    def __init__(self, name, module):
        super().__init__()
        self.add_module(name, module)


@pytest.mark.parametrize('wrapped', [False, True])
def test_learning_rates_and_weight_decay(wrapped):
    cfg = load('mask-rcnn_vitb_8xb8_100e_coco.py')
    with torch.device('meta'):
        model = MODELS.build(copy.deepcopy(cfg.model))
    names = {id(p): n for n, p in model.named_parameters()}
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    wrapper = build_optim_wrapper(
        Holder('module', model) if wrapped else model, copy.deepcopy(cfg.optim_wrapper)
    )
    optimizer, seen = wrapper.optimizer, set()
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert group['betas'] == (0.9, 0.999)
        for param in group['params']:
            name = names[id(param)]
            seen.add(name)
            assert group['lr'] == pytest.approx(1e-4 * rate(name, 12)), name
            free = id(param) in norms or name == 'backbone.pos_embed'
            assert group['weight_decay'] == (0 if free else 0.1), name
    assert seen == set(names.values())
    assert optimizer.param_groups[0]['lr'] == pytest.approx(9.689e-7, rel=1e-3)


def test_layer_decay_wants_a_backbone_that_knows_its_depth():
    cfg = load(NAMES[0]).optim_wrapper
    for model, name in (
        (Holder('backbone', nn.Linear(1, 1)), 'Linear'),
        (nn.Linear(1, 1), 'NoneType'),
    ):
        with pytest.raises(ValueError, match=f'{name}, has no get_layer_depth') as error:
            build_optim_wrapper(model, copy.deepcopy(cfg))
        assert '\n' not in str(error.value)


def sample(size):
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [30.0, 20.0, 60.0, 60.0]])
    masks = torch.zeros(2, size, size, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    found = DetDataSample(
        metainfo=dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
    )
    found.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 3]), masks=BitmapMasks(masks.numpy(), size, size)
    )
    found.ignored_instances = InstanceData(
        bboxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.long)
    )
    return found


@pytest.mark.slow
def test_one_step_and_one_prediction():
    """Narrow, at 128 pixels: everything has a gradient, and moves."""
    cfg = copy.deepcopy(load('mask-rcnn_vits_8xb8_100e_coco.py'))
    cfg.model.data_preprocessor.pad_size_divisor = 128
    cfg.model.backbone.update(arch=SMALL, init_cfg=None)
    cfg.model.neck.in_channels = 16
    cfg.model.train_cfg.rcnn.sampler.num = 16
    cfg.model.test_cfg.rpn.max_per_img = 16
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {k: v.clone() for k, v in model.named_parameters()}
    images = [torch.randint(256, (3, 96, 96), dtype=torch.uint8)] * 2
    losses = model.train_step(dict(inputs=images, data_samples=[sample(96), sample(96)]), wrapper)
    assert torch.isfinite(losses['loss'])
    assert len([k for k in losses if k.startswith('loss_')]) == 5
    still = {k for k, v in model.named_parameters() if torch.equal(v, before[k])}
    assert still == set()
    model.eval()
    with torch.no_grad():
        (result,) = model.val_step(dict(inputs=images[:1], data_samples=[sample(96)]))
    instances = result.pred_instances
    assert instances.bboxes.shape == (len(instances), 4)
    assert instances.masks.shape == (len(instances), 96, 96)
