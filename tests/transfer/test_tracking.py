"""Appearance of mmdet's trackers by frozen backbones, in the MOT layout."""

import copy
import importlib.util
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_demos import draw_clip, write_mot
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image
from repository import REPOSITORY

# First: it stands in for the ops that mmdet asks mmcv for.
import mmentropy.transfer.mot_challenge as mot
from mmentropy.datasets import Digits

import mmdet  # isort: skip
from mmdet.models.trackers import sort_tracker  # isort: skip
from mmdet.registry import DATASETS, MODELS  # isort: skip
from mmdet.structures import DetDataSample  # isort: skip

# mmdet 3.3.0 asks for it where onedl-mmdetection does not.
needs_motmetrics = pytest.mark.skipif(
    getattr(sort_tracker, 'motmetrics', mmdet) is None, reason='pip install motmetrics'
)
ROOT = REPOSITORY / 'configs/benchmarks/tracking'
DIGITS = Config.fromfile(ROOT / 'deepsort_r18s_digits.py')
SEQINFO = (
    '[Sequence]\nname={name}\nimDir=img1\nframeRate=30\n'
    'seqLength={frames}\nimWidth=96\nimHeight=96\nimExt={ext}\n'
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def trained(tmp_path):
    """A network with statistics of its own, its checkpoint and a config."""
    cfg = copy.deepcopy(DIGITS.model.reid)
    net = MODELS.build(dict(cfg.backbone, out_indices=(1, 2), init_cfg=None))
    net(torch.randn(16, 1, 16, 16))
    state = {f'backbone.{k}': v for k, v in net.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    cfg.backbone.init_cfg.checkpoint = str(tmp_path / 'epoch_1.pth')
    net.eval()
    return net, cfg


@pytest.mark.parametrize('stage', [1, 2])
def test_embedding_is_the_pooled_feature(trained, stage):
    net, cfg = trained
    cfg.backbone.out_indices = (stage,)
    reid = MODELS.build(cfg).train()
    crops = torch.randn(3, 1, 16, 16)
    maps = net(crops)[stage - 1].detach().double().numpy()
    assert maps.shape == (3, 32 * 2**stage, 8 >> stage, 8 >> stage)
    embeddings = reid(crops, mode='tensor')
    assert not embeddings.requires_grad
    for row, image in zip(embeddings.numpy(), maps, strict=True):
        pooled = np.array([channel.sum() / channel.size for channel in image])
        expected = pooled / np.sqrt((pooled * pooled).sum())
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-6)


def one_line(error):
    text = str(error.value)
    assert '\n' not in text
    return text


def test_no_checkpoint_and_a_wrong_one_are_refused(trained, tmp_path):
    _, cfg = trained
    hint = 'model.reid.backbone.init_cfg.checkpoint=PATH'
    with pytest.raises(ValueError) as error:
        MODELS.build(DIGITS.model.reid)
    assert hint in one_line(error)
    without = copy.deepcopy(cfg)
    del without.backbone['init_cfg']
    with pytest.raises(ValueError) as error:
        MODELS.build(without)
    assert hint in one_line(error)
    absent = copy.deepcopy(cfg)
    absent.backbone.init_cfg.checkpoint = str(tmp_path / 'epoch_2.pth')
    with pytest.raises(FileNotFoundError) as error:
        MODELS.build(absent)
    assert 'epoch_2.pth does not exist' in one_line(error)
    cfg.backbone.base_channels = cfg.backbone.stem_channels = 16
    with pytest.raises(ValueError) as error:
        MODELS.build(cfg)
    assert 'does not fit ResNet_CIFAR' in one_line(error)


def test_a_checkpoint_may_be_one_of_several_initialisers(trained):
    net, cfg = trained
    named = cfg.backbone.init_cfg
    kaiming = dict(type='Kaiming', layer='Conv2d')
    cfg.backbone.init_cfg = [kaiming, named]
    assert torch.equal(MODELS.build(cfg).backbone.conv1.weight, net.conv1.weight)
    cfg.backbone.init_cfg = kaiming
    assert not torch.equal(MODELS.build(cfg).backbone.conv1.weight, net.conv1.weight)
    for empty in (named.type, 'Pretrained'):
        cfg.backbone.init_cfg = [kaiming, dict(type=empty, checkpoint=None)]
        with pytest.raises(ValueError, match='FrozenReID has no checkpoint') as error:
            MODELS.build(cfg)
        one_line(error)


TRACKER = """
_base_ = 'mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py'
custom_imports = dict(imports=['mmentropy', 'mmentropy.transfer'], allow_failed_imports=False)
model = dict(
    detector=dict(
        init_cfg=dict(checkpoint='detector.pth'),
        backbone=dict(depth=18),
        neck=dict(in_channels=[64, 128, 256, 512]),
        roi_head=dict(bbox_head=dict(fc_out_channels=8)),
    ),
    reid=dict(
        _delete_=True,
        type='FrozenReID',
        backbone=dict(type='mmpretrain.ResNet', depth=18, init_cfg=None),
    ),
)
data = dict(_delete_=True, type='MOTSequences', data_root='mot', pipeline=[])
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
test_evaluator = dict(_delete_=True, type='DumpResults', out_file_path='out.pkl')
"""


@pytest.fixture
def tested(tmp_path, monkeypatch):
    """Return a function that runs tools/test.py up to the test, and returns the model."""
    published(tmp_path / 'mot')
    (tmp_path / 'tracker.py').write_text(TRACKER)
    monkeypatch.chdir(tmp_path)
    models = []
    monkeypatch.setattr(Runner, 'test', lambda runner: models.append(runner.model))

    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['test.py', 'tracker.py', *options])
        runpy.run_path(str(REPOSITORY / 'tools/test.py'), run_name='__main__')
        return models[-1]

    return run


@needs_motmetrics
def test_a_tracker_is_tested_with_the_detector_that_it_names(tested, tmp_path):
    with pytest.raises(SystemExit, match=r'detector\.pth') as left:
        tested()
    assert '\n' not in str(left.value)
    with pytest.raises(SystemExit, match='model.detector, FasterRCNN, has no weights') as left:
        tested('--cfg-options', 'model.detector.init_cfg=None')
    assert '\n' not in str(left.value)
    cfg = Config.fromfile(tmp_path / 'tracker.py').model.detector
    cfg.init_cfg = None
    state = MODELS.build(cfg).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'detector.pth')
    for key, value in tested().detector.state_dict().items():
        assert torch.equal(value.cpu(), state[key]), key
    # Without parameters there is nothing to load.
    public = TRACKER + "model['detector'] = dict(_delete_=True, type='PublicDetections')\n"
    (tmp_path / 'tracker.py').write_text(public)
    assert isinstance(tested().detector, mot.PublicDetections)


def read(root, **kwargs):
    return DATASETS.build(dict(type='MOTSequences', data_root=str(root), pipeline=[], **kwargs))


@pytest.mark.slow
def test_drawn_clips_are_read_back(tmp_path):
    write_mot(tmp_path, clips=2, frames=8)
    digits = [(row['img'], row['gt_label']) for row in Digits('test').load_data_list()]
    dataset = read(tmp_path)
    assert len(dataset) == 2
    for clip in range(2):
        images, ids, _ = draw_clip(digits, np.random.default_rng((3, clip)), 8, 4)
        video = dataset.get_data_info(clip)
        assert video['video_length'] == len(video['images']) == 8
        for t, frame in enumerate(video['images']):
            assert frame['frame_id'] == t
            assert np.array_equal(Image.open(frame['img_path']), images[t])
            assert len(frame['instances']) == len(np.unique(ids[t])) - 1
            for instance in frame['instances']:
                shown = ids == instance['instance_id']
                rows = [y for y in range(96) if shown[t, y].any()]
                columns = [x for x in range(96) if shown[t, :, x].any()]
                assert instance['bbox'] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
                sizes = [frame.sum() for frame in shown]
                share = sizes[t] / max(sizes)
                assert instance['visibility'] == pytest.approx(share, 1e-5)


def published(root):
    """Two sequences with what MOT17 has: other classes, ignored rows."""
    rows = {
        'MOT17-02-DPM': [
            '1,7,10,20,30.5,40,1,1,0.8',
            '1,3,-30,5,20,20,1,1,1',
            '2,7,12,20,30,40,0,1,0.25',
            '2,9,1,2,3,4,1,7,1',
            '2,5,80,80,40,40,1,13,0.5',
        ],
        'MOT17-02-SDP': ['1,1,5,5,10,10,1,1,1', '2,1,5,5,0.5,10,1,1,1'],
    }
    for name, lines in rows.items():
        for part in ('img1', 'gt', 'det'):
            (root / name / part).mkdir(parents=True)
        for frame in (1, 2):
            image = Image.new('L', (96, 96), frame)
            image.save(root / name / f'img1/{frame:06}.jpg')
        (root / name / 'gt/gt.txt').write_text('\n'.join(lines) + '\n')
        (root / name / 'det/det.txt').write_text(
            '2,-1,1,2,10,20,0.75,-1,-1,-1\n2,-1,5.5,6,7,8,-0.5,-1,-1,-1\n'
        )
        (root / name / 'seqinfo.ini').write_text(SEQINFO.format(name=name, frames=2, ext='.jpg'))
    return root


def test_the_published_layout_is_read_as_mmdet_reads_its_conversion(tmp_path, monkeypatch):
    """Second witness: tools/dataset_converters/mot2coco.py of mmdet."""
    published(tmp_path / 'MOT17/train')
    (tmp_path / 'MOT17/test').mkdir()
    path = Path(mmdet.__file__).parent / ('.mim/tools/dataset_converters/mot2coco.py')
    spec = importlib.util.spec_from_file_location('mot2coco', path)
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    monkeypatch.setattr(
        sys, 'argv', ['', '-i', f'{tmp_path}/MOT17', '-o', f'{tmp_path}/annotations']
    )
    converter.main()
    theirs = DATASETS.build(
        dict(
            type='MOTChallengeDataset',
            data_root=str(tmp_path),
            ann_file='annotations/train_cocoformat.json',
            data_prefix=dict(img_path='MOT17/train'),
            test_mode=True,
            pipeline=[],
        )
    )
    ours = read(tmp_path / 'MOT17/train')
    expected = {
        frame['img_path']: frame
        for video in (theirs.get_data_info(i) for i in range(len(theirs)))
        for frame in video['images']
    }
    frames = [frame for i in range(len(ours)) for frame in ours.get_data_info(i)['images']]
    assert [len(frame['instances']) for frame in frames] == [1, 3, 1, 0]
    same = {}
    for frame in frames:
        other = expected.pop(frame['img_path'])
        for key in ('width', 'height', 'frame_id'):
            assert frame[key] == other[key]
        for a, b in zip(frame['instances'], other['instances'], strict=True):
            video = Path(frame['img_path']).parts[-3]
            same.setdefault((video, a.pop('instance_id')), set()).add(b.pop('instance_id'))
            assert a == b
    assert not expected
    # Identities are those of the file; the converter numbers them anew.
    assert len(same) == 4 and all(len(ids) == 1 for ids in same.values())
    assert ('MOT17-02-DPM', 7) in same
    only = read(tmp_path / 'MOT17/train', sequences='*-SDP')
    assert len(only) == 1


def test_public_detections(tmp_path):
    root = published(tmp_path)
    detector = MODELS.build(dict(type='PublicDetections'))
    samples = [
        DetDataSample(metainfo=dict(img_path=f'{root}/MOT17-02-DPM/img1/{i:06}.jpg'))
        for i in (1, 2)
    ]
    detector.predict(torch.zeros(2, 3, 8, 8), samples)
    assert len(samples[0].pred_instances.bboxes) == 0
    found = samples[1].pred_instances
    assert found.bboxes.tolist() == [[1, 2, 11, 22], [5.5, 6, 12.5, 14]]
    assert found.scores.tolist() == [0.75, -0.5]
    assert found.labels.tolist() == [0, 0]
    # Another sequence is another file.
    path = root / 'MOT17-02-SDP/det/det.txt'
    path.write_text('2,-1,1,1,1,1,1\n')
    samples[0].set_metainfo(dict(img_path=f'{root}/MOT17-02-SDP/img1/000002.jpg'))
    detector.predict(torch.zeros(1, 3, 8, 8), samples[:1])
    assert samples[0].pred_instances.bboxes.tolist() == [[1, 1, 2, 2]]
    samples[0].set_metainfo(dict(img_path=f'{root}/MOT17-02-SDP/img1/frame_2.jpg'))
    with pytest.raises(ValueError, match='frame_2.jpg is not named by the number of its frame'):
        detector.predict(torch.zeros(1, 3, 8, 8), samples[:1])


def seqinfo(frames=2, width=96):
    text = SEQINFO.format(name='a', frames=frames, ext='.jpg')
    return text.replace('imWidth=96', f'imWidth={width}')


@pytest.mark.parametrize(
    'name, content, error, message',
    [
        ('seqinfo.ini', None, FileNotFoundError, 'no \\*/seqinfo.ini; put'),
        ('seqinfo.ini', 'name=a', ValueError, 'lacks \\[Sequence\\]'),
        (
            'seqinfo.ini',
            '[Sequence]\nimDir=img1\nimWidth=9\nimHeight=9\n',
            ValueError,
            'lacks imExt, seqLength',
        ),
        ('gt/gt.txt', None, FileNotFoundError, 'gt.txt does not exist'),
        ('gt/gt.txt', '1,1,1,1,1,1,1\n', ValueError, 'line 1: expected 9 numbers'),
        ('gt/gt.txt', '\n1,1,x,1,1,1,1,1,1\n', ValueError, 'line 2: expected 9'),
        ('img1/000002.jpg', None, FileNotFoundError, '000002.jpg does not exist'),
        ('seqinfo.ini', seqinfo(frames='two'), ValueError, "ini: seqLength must .* got 'two'"),
        ('seqinfo.ini', seqinfo(frames=0), ValueError, "ini: seqLength must .* got '0'"),
        ('seqinfo.ini', seqinfo(frames=1), ValueError, 'gt.txt has boxes in frame 2, but'),
        ('seqinfo.ini', seqinfo(width=5), ValueError, r'1.jpg has 96 x 96 pixels.*ini says 5 x 96'),
        ('gt/gt.txt', '1,1,nan,5,20,20,1,1,1', ValueError, 'gt.txt, line 1: expected 9 numbers'),
        ('gt/gt.txt', '1,1,5,5,20,20,1,99,1', ValueError, 'gt.txt has class 99 in frame 1'),
        ('gt/gt.txt', '0,1,5,5,20,20,1,1,1', ValueError, 'gt.txt has boxes in frame 0'),
    ],
)
def test_what_is_missing_is_named(tmp_path, name, content, error, message):
    root = published(tmp_path)
    for path in root.glob(f'*/{name}'):
        path.unlink() if content is None else path.write_text(content)
    with pytest.raises(error, match=message) as raised:
        read(root)
    one_line(raised)


def test_more_images_than_frames_are_refused(tmp_path):
    root = published(tmp_path)
    for path in root.glob('*/seqinfo.ini'):
        path.write_text(seqinfo(frames=1))
        (path.parent / 'gt/gt.txt').write_text('1,1,5,5,20,20,1,1,1')
    with pytest.raises(
        ValueError, match='img1 has more images, but .*ini says .* 1 frames'
    ) as error:
        read(root)
    one_line(error)


def track(root, cfg):
    """Identities of each frame, in the order of ``det.txt``."""
    model = MODELS.build(cfg.model).eval()
    loader = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False)
    loader['dataset'] = dict(
        type='MOTSequences', data_root=str(root), pipeline=cfg.test_dataloader.dataset.pipeline
    )
    found = []
    for data in Runner.build_dataloader(loader):
        with torch.no_grad():
            sample = model.test_step(data)[0][0]
        boxes = mot.read_boxes(Path(sample.img_path).parent.parent / 'det/det.txt', 7)
        tracks = sample.pred_track_instances
        expected = boxes.get(sample.frame_id + 1, np.empty((0, 7)))
        np.testing.assert_allclose(tracks.bboxes[:, :2], expected[:, 2:4])
        found.append(tracks.instances_id.tolist())
    return found


@needs_motmetrics
def test_digits_are_tracked_by_the_config(tmp_path):
    cfg = copy.deepcopy(DIGITS)
    cfg.model.reid.backbone.init_cfg = None
    write_mot(tmp_path, clips=2, frames=6)
    found = track(tmp_path, cfg)
    assert len(found) == 12
    for ids in found:
        assert len(set(ids)) == len(ids)
    assert sorted(found[0]) == list(range(len(found[0])))


def meeting(root, swapped):
    """Two digits hide for 10 frames, then come out, swapped or not.

    The boxes are the same in either case; only the pixels tell. A third one
    stays, and the first frame is without any.
    """
    digits = {row['gt_label']: row['img'] for row in Digits('test').load_data_list()}
    faces = [np.asarray(Image.fromarray(digits[i]).resize((16, 40))) for i in (0, 1, 2)]
    folder = root / 'meeting'
    for part in ('img1', 'gt', 'det'):
        (folder / part).mkdir(parents=True)
    lines = []
    for t in range(1, 21):
        image = np.full((96, 96), 40, np.uint8)
        shown = [(30, faces[0]), (48, faces[1]), (80, faces[2])]
        if swapped and t > 15:
            shown[:2] = (30, faces[1]), (48, faces[0])
        for x, face in shown[2 if 5 < t <= 15 else 0 :] if t > 1 else []:
            image[30:70, x : x + 16] = face
            lines.append(f'{t},-1,{x},30,16,40,1')
        Image.fromarray(image).save(folder / f'img1/{t:06}.png')
    (folder / 'det/det.txt').write_text('\n'.join(lines))
    (folder / 'gt/gt.txt').write_text('')
    (folder / 'seqinfo.ini').write_text(SEQINFO.format(name='meeting', frames=20, ext='.png'))
    return root


@needs_motmetrics
@pytest.mark.slow
def test_identities_follow_the_pixels(tmp_path):
    cfg = copy.deepcopy(DIGITS)
    cfg.model.reid.backbone.init_cfg = None
    before = [[]] + [[0, 1, 2]] * 4 + [[2]] * 10
    kept = track(meeting(tmp_path / 'kept', False), cfg)
    assert kept == before + [[0, 1, 2]] * 5
    swapped = track(meeting(tmp_path / 'swapped', True), cfg)
    assert swapped == before + [[1, 0, 2]] * 5
    # Without appearance they are lost.
    cfg.model.reid = cfg.model.tracker.reid = None
    lost = track(tmp_path / 'kept', cfg)
    assert lost == before + [[3, 4, 2]] * 5


@needs_motmetrics
@pytest.mark.slow
@pytest.mark.parametrize('name, channels', [('layer3', 1024), ('layer4', 2048)])
def test_full_size(tmp_path, name, channels):
    cfg = Config.fromfile(ROOT / f'deepsort_r50-{name}_mot16.py')
    assert cfg.test_dataloader.dataset.data_root == 'data/MOT16/train'
    assert cfg.test_evaluator.benchmark == 'MOT16'
    cfg.model.reid.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert model.reid(torch.randn(1, 3, 64, 32)).shape == (1, channels)
    data = cfg.test_dataloader.dataset
    data.data_root = str(published(tmp_path))
    frame = DATASETS.build(data)[(0, 1)]
    assert frame['inputs'].shape == (1, 3, 1088, 1088)
    sample = model.test_step(dict(inputs=[frame['inputs']], data_samples=[frame['data_samples']]))
    tracks = sample[0][0].pred_track_instances
    # The scores of the published file are 0.75 and -0.5.
    assert tracks.bboxes.tolist() == [[1, 2, 11, 22]]


def test_all_trackers_are_there():
    names = {path.name for path in ROOT.glob('deepsort*')}
    assert names == {
        'deepsort_r18s_digits.py',
        *(f'deepsort_r50-{layer}_mot16.py' for layer in ('layer3', 'layer4')),
    }
