"""Drawn digits, and the files in which they are written."""

import json
import sys

import digits_demos as demos
import numpy as np
import pytest
from digits_demos import bounced, draw_canvas, draw_clip, write_coco, write_davis, write_mot
from PIL import Image
from pycocotools import mask as coco_mask

from mmentropy.datasets import Digits
from mmentropy.evaluation.davis import read_davis, read_ids


@pytest.fixture(scope='module')
def digits():
    return [(row['img'], row['gt_label']) for row in Digits('test').load_data_list()]


# Clips


def test_a_clip_depends_on_its_generator_alone(digits):
    images, ids, labels = draw_clip(digits, np.random.default_rng(3), 30, 3)
    again = draw_clip(digits, np.random.default_rng(3), 30, 3)
    assert np.array_equal(images, again[0])
    assert np.array_equal(ids, again[1])
    assert labels == again[2]
    other = draw_clip(digits, np.random.default_rng(4), 30, 3)
    assert not np.array_equal(ids, other[1])
    assert images.shape == ids.shape == (30, 96, 96)
    assert images.dtype == ids.dtype == np.uint8
    # A longer clip starts alike.
    longer = draw_clip(digits, np.random.default_rng(3), 40, 3)
    assert np.array_equal(longer[1][:30], ids)


@pytest.mark.parametrize('objects', [1, 2, 4])
def test_digits_are_real_and_lie_apart_at_first(digits, objects):
    images, ids, labels = draw_clip(digits, np.random.default_rng(5), 1, objects)
    assert set(np.unique(ids)) == set(range(objects + 1))
    for i, label in enumerate(labels, 1):
        ys, xs = np.nonzero(ids[0] == i)
        box = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        patch = np.where(ids[0] == i, images[0], 0)[box]
        assert patch.min() == 0 and patch[patch > 0].min() > 80
        small = np.asarray(Image.fromarray(patch).resize((8, 8)), float)
        # The nearest of the 500 digits, cropped alike, has the label.
        distances = [((_cropped(d) - small) ** 2).sum() for d, _ in digits]
        nearest = np.argsort(distances)[:5]
        assert label in [digits[n][1] for n in nearest]
    # No other object within the square of one.
    for i in range(1, objects + 1):
        ys, xs = np.nonzero(ids[0] == i)
        box = ids[0, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        assert set(np.unique(box)) <= {0, i}


def _cropped(digit):
    digit = np.where(digit > 80, digit, 0)
    ys, xs = np.nonzero(digit)
    box = Image.fromarray(digit[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1])
    return np.asarray(box.resize((8, 8)), float)


@pytest.mark.parametrize(
    ('start', 'speed'), [(3.0, 2.7183), (60.0, -1.3301), (0.0, 0.5127), (66.0, 3.0)]
)
def test_paths_are_mirrored_at_the_borders(start, speed):
    """As a ball that is followed step by step."""
    place, step, turns = start, speed, 0
    for t in range(200):
        path = np.array([start + t * speed, 7.0])
        y, x = bounced(path, 66)
        assert (y, x) == (round(place), 7)
        place += step
        if not 0 <= place <= 66:
            place = -place if place < 0 else 2 * 66 - place
            step, turns = -step, turns + 1
    assert turns


def test_objects_move_and_are_never_cut_off(digits):
    _, ids, _ = draw_clip(digits, np.random.default_rng(8), 120, 1)
    corners, sizes = [], set()
    for frame in ids:
        ys, xs = np.nonzero(frame)
        sizes.add((np.ptp(ys), np.ptp(xs)))
        corners.append((ys.min(), xs.min()))
    assert len(sizes) == 1
    steps = np.diff(corners, axis=0)
    assert (abs(steps) <= 3).all()
    for axis in range(2):
        # There and back.
        assert {-1, 1} <= set(np.sign(steps[:, axis]))


def test_the_larger_id_is_on_top(digits):
    hidden = 0
    for seed in range(10):
        _, ids, _ = draw_clip(digits, np.random.default_rng(seed), 60, 3)
        areas = np.stack([(ids == i).sum((1, 2)) for i in (1, 2, 3)])
        # The last is never covered.
        assert np.ptp(areas[2]) == 0
        hidden += np.ptp(areas[0]) > 0
    assert hidden >= 5


def test_ground_is_noise_that_is_new_in_each_frame(digits):
    images, ids, _ = draw_clip(digits, np.random.default_rng(1), 2, 3)
    ground = (ids == 0).all(0)
    a, b = images[:, ground].astype(float)
    assert a.mean() == pytest.approx(40, abs=1)
    assert a.std() == pytest.approx(12, abs=0.5)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


# Files


def test_clips_are_written_in_the_layout_of_davis(tmp_path, digits):
    write_davis(tmp_path, clips=2, frames=4)
    clips = read_davis(tmp_path)
    assert [clip.name for clip in clips] == ['digits000', 'digits001']
    images, ids, _ = draw_clip(digits, np.random.default_rng((2, 1)), 4, 3)
    for t in range(4):
        assert clips[1].images[t] == (tmp_path / f'JPEGImages/480p/digits001/{t:05}.jpg')
        assert clips[1].masks[t] == (tmp_path / f'Annotations/480p/digits001/{t:05}.png')
        assert np.array_equal(read_ids(clips[1].masks[t], (96, 96)), ids[t])
        stored = np.asarray(Image.open(clips[1].images[t]), float)
        assert abs(stored - images[t]).mean() < 3


def test_the_detector_of_the_digits_misses_the_covered(tmp_path):
    write_mot(tmp_path, clips=4, frames=60)
    right = covered = moved = total = 0
    for i in range(4):
        truth = boxes(tmp_path / f'digits{i:03}/gt/gt.txt', 9)
        found = boxes(tmp_path / f'digits{i:03}/det/det.txt', 7)
        for frame in np.unique(truth[:, 0]):
            rows = truth[truth[:, 0] == frame]
            near_by = found[found[:, 0] == frame]
            assert (near_by[:, 1] == -1).all() and (near_by[:, 6] == 1).all()
            gaps = abs(rows[:, None, 2:6] - near_by[:, 2:6]).max(2)
            near = gaps.min(1, initial=np.inf) < 5
            seen = rows[:, 8] >= 0.75
            right, total = right + near[seen].sum(), total + seen.sum()
            covered += (~seen).sum()
            # Another digit's box may be near.
            assert len(near_by) <= seen.sum()
            moved += (gaps == 0).sum()
    assert covered > 10 and moved == 0
    assert 0.85 < right / total < 0.95


def boxes(path, columns):
    rows = np.loadtxt(path, delimiter=',')
    assert rows.shape[1] == columns
    return rows


@pytest.fixture(scope='module')
def canvases(tmp_path_factory):
    root = tmp_path_factory.mktemp('digits_coco')
    write_coco(root, dict(train=6, val=6))
    return root


def annotations(root, split):
    return json.loads((root / f'annotations/instances_{split}.json').read_text())


def test_canvases_are_always_the_same(canvases, tmp_path):
    write_coco(tmp_path, dict(train=6))
    assert annotations(tmp_path, 'train') == annotations(canvases, 'train')
    assert annotations(canvases, 'train') != annotations(canvases, 'val')
    for path in (canvases / 'train').iterdir():
        assert path.read_bytes() == (tmp_path / 'train' / path.name).read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {'annotations', 'train'}


def test_boxes_and_masks_are_those_of_the_drawn_digits(canvases):
    per_image = {}
    for item in annotations(canvases, 'train')['annotations']:
        mask = coco_mask.decode(item['segmentation'])
        image = np.asarray(Image.open(canvases / f'train/{item["image_id"]:05}.png'))
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
        image = np.asarray(Image.open(canvases / f'train/{i:05}.png'))
        assert image[np.sum(masks, axis=0) == 0].mean() < 50


def test_labels_are_those_of_the_digits(canvases, digits):
    content = annotations(canvases, 'val')
    drawn = [
        pair for i in range(6) for pair in draw_canvas(digits, np.random.default_rng((1, i)))[1]
    ]
    assert len(drawn) == len(content['annotations'])
    names = {c['id']: c['name'] for c in content['categories']}
    for (label, mask), item in zip(drawn, content['annotations']):
        assert names[item['category_id']] == str(label)
        assert np.array_equal(coco_mask.decode(item['segmentation']), mask)


# Command


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['digits_demos.py', *map(str, arguments)])
    demos.main()


@pytest.mark.slow
def test_command_writes_what_the_recipes_read(monkeypatch, tmp_path, capsys):
    run_tool(monkeypatch, 'coco', 'mot', 'davis', '--out', tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        f'wrote {tmp_path}/digits_{demo}' for demo in ('coco', 'mot', 'davis')
    ]
    # Nothing is left of what was written aside.
    assert {p.name for p in tmp_path.iterdir()} == {'digits_coco', 'digits_mot', 'digits_davis'}
    for split, count in dict(train=300, val=100).items():
        assert len(annotations(tmp_path / 'digits_coco', split)['images']) == count
        assert len(list((tmp_path / 'digits_coco' / split).iterdir())) == count
    assert len(list((tmp_path / 'digits_mot').glob('digits*/img1/*.png'))) == 20 * 60
    assert [len(clip.images) for clip in read_davis(tmp_path / 'digits_davis')] == [20] * 20


def test_what_is_there_is_not_written_over(monkeypatch, tmp_path):
    (tmp_path / 'digits_davis').mkdir()
    with pytest.raises(FileExistsError, match='digits_davis exists: remove it'):
        run_tool(monkeypatch, 'mot', 'davis', '--out', tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['digits_davis']


def test_nothing_is_left_of_a_run_that_was_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(demos, 'save_ids', lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_tool(monkeypatch, 'davis', '--out', tmp_path)
    assert not list(tmp_path.iterdir())
