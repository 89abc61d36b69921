"""Clips of moving digits, drawn and written."""

import numpy as np
import pytest
from PIL import Image

from mmentropy.datasets import Digits
from mmentropy.evaluation.davis import (
    read_davis,
    read_ids,
)
from mmentropy.evaluation.moving_digits import _bounced as bounced
from mmentropy.evaluation.moving_digits import draw_clip, write_davis


@pytest.fixture(scope='module')
def digits():
    return [(row['img'], row['gt_label']) for row in Digits('test').load_data_list()]


@pytest.fixture()
def root(tmp_path):
    return write_davis(tmp_path, 2, 4)


def test_a_clip_depends_on_its_generator_alone(digits):
    images, ids, labels = draw_clip(digits, np.random.default_rng(3), 30)
    again = draw_clip(digits, np.random.default_rng(3), 30)
    assert np.array_equal(images, again[0])
    assert np.array_equal(ids, again[1])
    assert labels == again[2]
    other = draw_clip(digits, np.random.default_rng(4), 30)
    assert not np.array_equal(ids, other[1])
    assert images.shape == ids.shape == (30, 96, 96)
    assert images.dtype == ids.dtype == np.uint8
    # A longer clip starts alike.
    longer = draw_clip(digits, np.random.default_rng(3), 40)
    assert np.array_equal(longer[1][:30], ids)


@pytest.mark.parametrize('objects', [1, 2, 4])
def test_digits_are_real_and_lie_apart_at_first(digits, objects):
    images, ids, labels = draw_clip(digits, np.random.default_rng(5), 1, objects=objects)
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
    _, ids, _ = draw_clip(digits, np.random.default_rng(8), 120, objects=1)
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
        _, ids, _ = draw_clip(digits, np.random.default_rng(seed), 60)
        areas = np.stack([(ids == i).sum((1, 2)) for i in (1, 2, 3)])
        # The last is never covered.
        assert np.ptp(areas[2]) == 0
        hidden += np.ptp(areas[0]) > 0
    assert hidden >= 5


def test_ground_is_noise_that_is_new_in_each_frame(digits):
    images, ids, _ = draw_clip(digits, np.random.default_rng(1), 2)
    ground = (ids == 0).all(0)
    a, b = images[:, ground].astype(float)
    assert a.mean() == pytest.approx(40, abs=1)
    assert a.std() == pytest.approx(12, abs=0.5)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ('frames', 'objects', 'said'),
    [
        (0, 3, 'frames must be an integer >= 1, got 0'),
        (5, 0, 'objects must be one of 1, 2, 3, 4, got 0'),
        (5, 5, 'objects must be one of 1, 2, 3, 4, got 5'),
    ],
)
def test_clips_that_cannot_be(digits, frames, objects, said):
    with pytest.raises(ValueError, match=said):
        draw_clip(digits, np.random.default_rng(0), frames, objects)


def test_written_once_in_the_published_layout(root, tmp_path, digits):
    assert root == tmp_path / '2x4'
    # Nothing is left of what was written aside.
    assert [p.name for p in tmp_path.iterdir()] == ['2x4']
    clips = read_davis(root)
    assert [clip.name for clip in clips] == ['digits000', 'digits001']
    images, ids, _ = draw_clip(digits, np.random.default_rng((2, 1)), 4)
    for t in range(4):
        assert clips[1].images[t] == (root / f'JPEGImages/480p/digits001/{t:05}.jpg')
        assert clips[1].masks[t] == (root / f'Annotations/480p/digits001/{t:05}.png')
        assert np.array_equal(read_ids(clips[1].masks[t], (96, 96)), ids[t])
        stored = np.asarray(Image.open(clips[1].images[t]), float)
        assert abs(stored - images[t]).mean() < 3
    stamp = clips[0].masks[0].stat().st_mtime_ns
    assert write_davis(tmp_path, 2, 4) == root
    assert clips[0].masks[0].stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match='clips must be an integer >= 1, got 0'):
        write_davis(tmp_path, 0, 4)


def test_nothing_is_left_of_a_run_that_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr('mmentropy.evaluation.moving_digits.save_ids', lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_davis(tmp_path, 2, 4)
    assert not list(tmp_path.iterdir())
