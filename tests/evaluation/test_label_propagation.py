"""Propagation of labels by frozen features, and its command."""

import copy
import math
import runpy
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as torch_f
from digits_demos import write_davis
from forked import python
from mmengine.config import Config
from mmpretrain.models import ResNet, ResNetV1d, VisionTransformer
from mmpretrain.registry import MODELS
from PIL import Image
from repository import REPOSITORY
from torch import nn

from mmentropy.evaluation import build_backbone, build_data_preprocessor
from mmentropy.evaluation.davis import read_davis, read_ids, save_ids, score_clip
from mmentropy.evaluation.label_propagation import (
    attend,
    dense_layer,
    propagate,
    segment_clip,
)

CONFIG = REPOSITORY / 'configs/minent/minent_r18s_1xb64_50e_digits.py'


# Propagation


def slow_propagate(features, labels, temperature, top_k, radius, context):
    """UniTrack's test_vos.py, one position at a time, in float64."""
    features = [f / np.linalg.norm(f, axis=0) for f in features]
    _, height, width = features[0].shape
    places = [(y, x) for y in range(height) for x in range(width)]
    # The clip is preceded by copies of its first frame.
    padded = [features[0]] * context + features
    known = [labels] * (context + 1)
    for t in range(context + 1, len(padded)):
        out = np.zeros_like(labels)
        for y, x in places:
            asked = [(padded[0][:, v, u], known[0][:, v, u]) for v, u in places]
            for s in range(t - context, t):
                for v, u in places:
                    if math.sqrt((v - y) ** 2 + (u - x) ** 2) < radius:
                        asked.append((padded[s][:, v, u], known[s][:, v, u]))
            similar = sorted(
                ((padded[t][:, y, x] @ f / temperature, i) for i, (f, _) in enumerate(asked)),
                reverse=True,
            )[:top_k]
            weights = [math.exp(s - similar[0][0]) for s, _ in similar]
            for weight, (_, i) in zip(weights, similar):
                out[:, y, x] += weight / sum(weights) * asked[i][1]
        known.append(out)
    return known[context:]


@pytest.mark.parametrize(
    ('top_k', 'radius', 'context'),
    [
        (1, 2, 1),
        (4, 2.5, 2),
        (7, 1, 3),
        (30, 100, 2),
    ],
)
def test_propagation_equals_the_slow_one(top_k, radius, context):
    rng = np.random.default_rng(top_k)
    features = list(rng.standard_normal((6, 3, 5, 7)))
    labels = rng.dirichlet(np.ones(4), (5, 7)).transpose(2, 0, 1)
    settings = dict(temperature=0.3, top_k=top_k, radius=radius, context=context)
    expected = slow_propagate(features, labels, **settings)
    found = list(propagate(map(torch.from_numpy, features), torch.from_numpy(labels), **settings))
    assert len(found) == 6
    for t in range(6):
        # Copies of one frame tie, and have the same labels.
        assert np.abs(found[t].numpy() - expected[t]).max() < 1e-10
    assert np.abs(expected[5] - expected[0]).max() > 0.1


def test_the_settings_are_those_of_unitrack():
    torch.manual_seed(0)
    features = list(torch.randn(9, 4, 20, 20).double())
    labels = torch.rand(3, 20, 20).double()
    found = list(propagate(iter(features), labels))
    same = list(propagate(iter(features), labels, temperature=0.05, top_k=10, radius=12, context=5))
    assert torch.equal(found[-1], same[-1])


def one_hot_places(height, width):
    """Features that tell every position from every other."""
    return torch.eye(height * width).view(-1, height, width)


def test_labels_of_a_clip_that_stands_still_stay():
    feature = one_hot_places(6, 8)
    labels = torch.rand(3, 6, 8)
    labels /= labels.sum(0)
    for soft in propagate([feature] * 8, labels, top_k=5, context=4):
        # Five copies of the position itself: nothing else is averaged.
        torch.testing.assert_close(soft, labels, rtol=0, atol=1e-6)


def test_weights_are_a_softmax_over_the_temperature():
    """Two positions, of cosines 1 and 0, of one frame of context."""
    feature = one_hot_places(1, 2)
    labels = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    frame = (feature, labels)
    # The first frame and a window of 1: the position twice, the other once,
    # which then has exp(0) of 2 exp(1 / T) + exp(0).
    soft = attend(feature, frame, [frame], 0.5, 2, 1)
    torch.testing.assert_close(soft, labels)
    with pytest.raises(ValueError, match='1 x 2 has fewer than top_k=3'):
        attend(feature, frame, [frame], 0.5, 3, 1)
    apart = (one_hot_places(2, 2), torch.eye(4).view(4, 2, 2))
    soft = attend(apart[0], apart, [apart], 0.5, 4, 1)
    # The position twice, and two others.
    share = 2 * math.exp(2) / (2 * math.exp(2) + 2)
    for place in range(4):
        assert soft.flatten(1)[place, place] == pytest.approx(share)


def objects_that_move(frames, height=12, width=16):
    """Ids (T, H, W) of two squares that cross the map."""
    ids = torch.zeros(frames, height, width, dtype=torch.long)
    for t in range(frames):
        ids[t, 2:5, t : t + 3] = 1
        ids[t, 7:10, width - 3 - t : width - t] = 2
    return ids


def test_features_of_objects_track_them():
    ids = objects_that_move(10)
    features = torch_f.one_hot(ids, 3).permute(0, 3, 1, 2).float()
    # With a length of its own in each position, which is taken out.
    features = features * (0.5 + torch.rand(10, 1, 12, 16))
    soft = list(propagate(iter(features), features[0].sign(), top_k=3))
    for t in range(10):
        assert torch.equal(soft[t].argmax(0), ids[t])


def test_what_leaves_the_window_is_lost():
    """Unless the first frame shows it: that is asked as a whole."""
    ground, thing = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    other = torch.tensor([0.0, 0, 1])

    def frame(place, feature):
        features = ground.repeat(20, 1)
        labels = torch.tensor([1.0, 0]).repeat(20, 1)
        if place is not None:
            features[place] = feature
            labels[place] = torch.tensor([0.0, 1])
        return features.T[:, None], labels.T[:, None]

    recent = [frame(4, thing)]
    empty = frame(None, thing)
    for place, seen in ((4, 1), (6, 1), (2, 1), (7, 0), (1, 0), (12, 0)):
        query, _ = frame(place, thing)
        soft = attend(query, empty, recent, 0.05, 1, 3)
        assert soft[1, 0, place] == seen
    # Far away, but as in the first frame.
    query, _ = frame(12, thing)
    assert attend(query, frame(0, thing), recent, 0.05, 1, 3)[1, 0, 12] == 1
    assert attend(query, frame(0, other), recent, 0.05, 1, 3)[1, 0, 12] == 0


@pytest.mark.parametrize(('context', 'seen'), [(3, 1), (2, 0)])
def test_frames_of_the_past_are_forgotten(context, seen):
    """A thing is known by the look that it had three frames ago."""
    old, new = torch.eye(3)[1:]
    # A little like the new look, so that the thing is lost to the ground.
    ground = torch.tensor([1.0, 0, 0.1])
    features = []
    for look in (old, old + new, old, old, new):
        row = torch.stack([ground] * 4 + [look] * 4)
        features.append(row.T[:, None])
    labels = torch.zeros(2, 1, 8)
    labels[0, 0, :4] = labels[1, 0, 4:] = 1
    soft = list(propagate(features, labels, top_k=1, radius=9, context=context))
    assert soft[1][1, 0].tolist() == [0] * 4 + [1] * 4
    assert soft[4][1, 0].tolist() == [0] * 4 + [seen] * 4


def test_maps_that_do_not_fit():
    labels = torch.rand(2, 4, 4)
    maps = [torch.rand(3, 4, 4), torch.rand(3, 4, 5)]
    with pytest.raises(ValueError, match=r'map of \(4, 5\) does not fit'):
        list(propagate(maps, labels))
    maps[1] = torch.full((3, 4, 4), torch.nan)
    with pytest.raises(ValueError, match='not finite'):
        list(propagate(maps, labels))


# Features


def random_norms(backbone):
    """Statistics and gains that are not those of a fresh network."""
    torch.manual_seed(1)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
    backbone.eval()
    return backbone


@pytest.mark.slow
@pytest.mark.parametrize('kind', [ResNet, ResNetV1d])
@pytest.mark.parametrize(('depth', 'style'), [(18, 'pytorch'), (50, 'pytorch'), (50, 'caffe')])
def test_layers_without_strides(kind, depth, style):
    """As mmpretrain builds it with strides 1; keys and weights stay."""
    small = dict(stem_channels=8, base_channels=8, style=style)
    backbone = random_norms(kind(depth=depth, **small))
    strided = kind(depth=depth, strides=(1, 2, 1, 1), out_indices=(2, 3), **small)
    strided.eval()
    # With stride 1 the shortcuts of ResNet-D have no pooling before them.
    state = dict(backbone.state_dict())
    if kind is ResNetV1d:
        for layer in ('layer3', 'layer4'):
            for key in [k for k in state if f'{layer}.0.downsample' in k]:
                head, tail = key.split('downsample.')
                index, tail = tail.split('.', 1)
                new = f'{head}downsample.{int(index) - 1}.{tail}'
                state[new] = state.pop(key)
    strided.load_state_dict(state)
    x = torch.randn(1, 3, 50, 66)
    with torch.no_grad():
        expected = strided(x)
        for i, layer in enumerate(('layer3', 'layer4')):
            found = dense_layer(copy.deepcopy(backbone), layer)(x)
            assert len(found) == 1
            assert found[0].shape[2:] == (7, 9)
            torch.testing.assert_close(found[0], expected[i])


def test_tokens_of_a_transformer():
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    vit = VisionTransformer(arch, img_size=32, patch_size=8)
    vit.eval()
    raw = copy.deepcopy(vit)
    raw.out_type = 'raw'
    x = torch.randn(1, 3, 24, 40)
    with torch.no_grad():
        tokens = raw(x)[0]
        found = dense_layer(vit, 'tokens')(x)
    assert len(found) == 1 and found[0].shape == (1, 16, 3, 5)
    for y in range(3):
        for x in range(5):
            # The class token comes first.
            assert torch.equal(found[0][0, :, y, x], tokens[0, 1 + y * 5 + x])


def test_layers_that_are_not_there():
    small = Config.fromfile(CONFIG).model.backbone
    small = build_backbone(Config(dict(model=dict(backbone=small))))
    with pytest.raises(ValueError, match='no layer4: it ends in layer3'):
        dense_layer(small, 'layer4')
    with pytest.raises(ValueError, match='no tokens: ResNets have layer3'):
        dense_layer(small, 'tokens')
    with pytest.raises(ValueError, match='must be one of'):
        dense_layer(small, 'layer5')
    with pytest.raises(ValueError, match='Conv2d has no layer3'):
        dense_layer(nn.Conv2d(1, 1, 1), 'layer3')


class Colours(nn.Module):
    """One map per grey level of 0, 1 and 2, at stride 4."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        assert not self.training and not torch.is_grad_enabled()
        planes = torch.cat([(x == i).float() for i in range(3)], 1)
        return (torch_f.avg_pool2d(planes, 4),)


def test_clips_are_segmented_at_the_size_of_their_frames():
    ids = objects_that_move(6).repeat_interleave(4, 1).repeat_interleave(4, 2)
    ids = ids.to(torch.uint8)
    backbone = Colours().train()
    preprocessor = MODELS.build(dict(type='ImgDataPreprocessor', mean=[0.0], std=[1.0]))
    preprocessor.forward = lambda data, training: dict(inputs=data['inputs'].float())
    frames = (frame[None] for frame in ids)
    found = list(segment_clip(backbone, preprocessor, frames, ids[0].numpy()))
    assert backbone.training and torch.is_grad_enabled()
    assert [f.dtype for f in found] == [np.uint8] * 6
    scores = score_clip(list(ids.numpy()), found)
    # Borders lie between the positions; their corners are rounded.
    assert len(scores) == 2
    assert all(s.j.mean > 0.95 and s.f.mean == 1 for s in scores)


# Command


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A fresh backbone of digits, in mmengine's layout."""
    cfg = Config.fromfile(CONFIG)
    backbone = build_backbone(cfg, seed=3)
    state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
    path = tmp_path_factory.mktemp('checkpoint') / 'epoch_1.pth'
    meta = dict(cfg=cfg.pretty_text)
    torch.save(dict(state_dict=state, meta=meta), path)
    return path


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['propagate.py', *map(str, arguments)])
    runpy.run_path(str(REPOSITORY / 'tools/propagate.py'), run_name='__main__')


@pytest.mark.slow
def test_command_needs_no_mmdet():
    """Neither it nor what it imports is there where sys.modules has None for it."""
    code = (
        "import runpy, sys; sys.modules['mmdet'] = None; sys.argv[1:] = ['--help']; "
        "sys.path.insert(0, 'tools'); "
        "runpy.run_path('tools/propagate.py', run_name='__main__')"
    )
    found = python('-c', code, cwd=REPOSITORY)
    assert found.returncode == 0, found.stderr
    assert 'folder of DAVIS-2017' in found.stdout


@pytest.mark.slow
def test_command(monkeypatch, capsys, tmp_path, checkpoint):
    root = tmp_path / 'data'
    write_davis(root, clips=2, frames=5)
    out = tmp_path / 'out'
    run_tool(monkeypatch, checkpoint, '--data', root, '--random', '--seed', 3, '--out', out)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index('checkpoint, layer3')
    names = lines[start + 1].split()
    assert names == ['J&F', 'J-mean', 'J-recall', 'J-decay', 'F-mean', 'F-recall', 'F-decay']
    # The masks that were written score what was printed.
    objects = []
    for i, clip in enumerate(read_davis(root)):
        truth = [read_ids(path, (96, 96)) for path in clip.masks]
        found = [read_ids(out / clip.name / path.name, (96, 96)) for path in clip.masks]
        assert np.array_equal(found[0], truth[0])
        scores = score_clip(truth, found)
        objects += scores
        name, *cells = lines[start + 2 + i].split()
        assert name == clip.name
        j = np.mean([s.j for s in scores], 0) * 100
        f = np.mean([s.f for s in scores], 0) * 100
        expected = [(j[0] + f[0]) / 2, *j, *f]
        assert [float(c) for c in cells] == pytest.approx(expected, abs=0.006)
    mean = 100 * np.mean([s.j.mean for s in objects])
    assert float(lines[start + 4].split()[2]) == pytest.approx(mean, abs=0.006)
    # The checkpoint is the fresh backbone of seed 3.
    again = lines.index('random, layer3')
    assert lines[again + 1 : again + 5] == lines[start + 1 : start + 5]


def test_the_mean_is_that_of_objects_not_of_clips(monkeypatch, capsys, tmp_path, checkpoint):
    root = tmp_path / 'data'
    write_davis(root, clips=2, frames=3)
    # One object is left in the first clip.
    clip = read_davis(root)[0]
    for path in clip.masks:
        ids = read_ids(path, (96, 96))
        save_ids(path, np.where(ids == 1, ids, 0).astype(np.uint8))
    run_tool(monkeypatch, checkpoint, '--data', root, '--random', '--out', tmp_path / 'out')
    first, second = capsys.readouterr().out.split('random, layer3')
    # Seed 0 is not that of the checkpoint.
    assert first.split()[-7:] != second.split()[-7:]
    rows = [line.split() for line in first.splitlines()]
    rows = {row[0]: row for row in rows if row}
    one, three, mean = (float(rows[name][2]) for name in ('digits000', 'digits001', 'mean'))
    assert one != three
    # The masks of the random backbone are not written.
    clip = read_davis(root)[1]
    scores = score_clip(
        *(
            [read_ids(folder / path.name, (96, 96)) for path in clip.masks]
            for folder in (clip.masks[0].parent, tmp_path / 'out' / clip.name)
        )
    )
    assert three == pytest.approx(100 * np.mean([s.j.mean for s in scores]), abs=0.006)
    assert mean == pytest.approx((one + 3 * three) / 4, abs=0.02)


def test_an_error_names_its_clip_and_loses_no_row(monkeypatch, capsys, tmp_path, checkpoint):
    write_davis(tmp_path, clips=2, frames=3)
    Image.new('L', (96, 90)).save(read_davis(tmp_path)[1].images[2])
    with pytest.raises(SystemExit) as stopped:
        run_tool(monkeypatch, checkpoint, '--data', tmp_path)
    assert str(stopped.value).startswith('error: sequence digits001: ')
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if len(row) == 8] == ['digits000']


def test_colours_are_those_of_training(monkeypatch, tmp_path):
    tool = runpy.run_path(str(REPOSITORY / 'tools/propagate.py'))
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / 'red.png')
    frames = {
        order: tool['read_frame'](tmp_path / 'red.png', order) for order in ('RGB', 'BGR', 'L')
    }
    assert frames['RGB'][:, 0, 0].tolist() == [255, 0, 0]
    assert frames['BGR'][:, 0, 0].tolist() == [0, 0, 255]
    assert frames['L'].shape == (1, 4, 4)
    for name, order in (
        ('mec/r50_8xb64_100e_in1k.py', 'BGR'),
        ('minent/minent_r18_1xb128_1000e_cifar10.py', 'RGB'),
        ('mec/r18s_1xb64_50e_digits.py', 'L'),
    ):
        cfg = Config.fromfile(REPOSITORY / 'configs' / name)
        assert tool['colours'](cfg, build_data_preprocessor(cfg)) == order
    cfg.model.backbone.pop('in_channels')
    cfg.pop('train_dataloader')
    with pytest.raises(ValueError, match='order of colours'):
        tool['colours'](cfg, build_data_preprocessor(cfg))


@pytest.mark.parametrize('kind', ['SelfSupDataPreprocessor', 'ClsDataPreprocessor'])
def test_colours_of_an_imported_backbone_are_those_of_its_preprocessor(kind):
    """Its config has no training images."""
    tool = runpy.run_path(str(REPOSITORY / 'tools/propagate.py'))
    for to_rgb, order in ((True, 'BGR'), (False, 'RGB')):
        images = dict(type=kind, mean=[1.0] * 3, std=[1.0] * 3, to_rgb=to_rgb)
        model = dict(backbone=dict(type='ResNet', depth=18))
        cfg = Config(dict(model=model, data_preprocessor=images))
        assert tool['colours'](cfg, build_data_preprocessor(cfg)) == order


@pytest.mark.parametrize('config', ['x = 1\n', "model = dict(type='MEC')\n"])
def test_a_config_without_a_backbone(monkeypatch, tmp_path, checkpoint, config):
    (tmp_path / 'config.py').write_text(config)
    with pytest.raises(SystemExit) as stopped:
        run_tool(monkeypatch, checkpoint, '--data', 'd', '--config', tmp_path / 'config.py')
    assert str(stopped.value) == 'error: the config has no model.backbone'


@pytest.mark.parametrize('place', ['annotations', 'link', 'other clip', 'mask'])
def test_no_mask_is_written_over_an_annotation(tmp_path, place):
    tool = runpy.run_path(str(REPOSITORY / 'tools/propagate.py'))
    data, out = tmp_path / 'data', tmp_path / 'out'
    write_davis(data, clips=2, frames=3)
    clips = read_davis(data)
    first, second = (clip.masks[0].parent for clip in clips)
    if place == 'annotations':
        out = first.parent
    elif place == 'link':
        out.symlink_to(first.parent)
    elif place == 'other clip':
        out.mkdir()
        (out / clips[0].name).symlink_to(second)
    else:
        (out / clips[1].name).mkdir(parents=True)
        (out / clips[1].name / clips[1].masks[2].name).hardlink_to(clips[1].masks[2])
    with pytest.raises(ValueError, match='--out: .* is an annotation of the data'):
        tool['make_folder'](out, clips)
    tool['make_folder'](tmp_path / 'new' / 'one', clips)
    assert (tmp_path / 'new' / 'one').is_dir()


def test_annotations_and_files_are_refused_before_the_first_clip(monkeypatch, tmp_path, checkpoint):
    write_davis(tmp_path, clips=1, frames=3)
    masks = read_davis(tmp_path)[0].masks
    before = [mask.read_bytes() for mask in masks]
    for out, said in (
        (tmp_path / 'Annotations/480p', 'is an annotation of the data'),
        (tmp_path / 'ImageSets/2017/val.txt', 'is no folder'),
    ):
        monkeypatch.setattr('mmentropy.evaluation.label_propagation.segment_clip', None)
        with pytest.raises(SystemExit) as stopped:
            run_tool(monkeypatch, checkpoint, '--data', tmp_path, '--out', out)
        assert str(stopped.value).startswith('error: --out: ') and said in str(stopped.value)
    assert [mask.read_bytes() for mask in masks] == before


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--data', 'nowhere'], 'error: nowhere/ImageSets/2017/val.txt is miss'),
        (['--data', 'nowhere', '--layer', 'layer4'], 'error: ResNet_CIFAR has no'),
        (['--data', 'nowhere', '--branch', 'teacher'], 'has no teacher'),
    ],
)
def test_command_says_what_is_wrong(monkeypatch, checkpoint, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        run_tool(monkeypatch, checkpoint, *arguments)
    assert said in str(stopped.value)
    assert '\n' not in str(stopped.value)
