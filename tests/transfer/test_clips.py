"""Clips of moving digits, DAVIS's files and its measures."""

import math

import numpy as np
import pytest
from PIL import Image

from mmentropy.datasets import Digits
from mmentropy.transfer.clips import _bounced as bounced
from mmentropy.transfer.clips import draw_clip, write_davis
from mmentropy.transfer.davis import (
    boundary,
    read_davis,
    read_ids,
    region,
    save_ids,
    score_clip,
)


@pytest.fixture(scope='module')
def digits():
    return [(row['img'], row['gt_label']) for row in Digits('test').load_data_list()]


@pytest.fixture()
def root(tmp_path):
    return write_davis(tmp_path, 2, 4)


# Clips


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
        (0, 3, 'at least 1 frame, got 0'),
        (5, 0, '1 to 4 objects, got 0'),
        (5, 5, '1 to 4 objects, got 5'),
    ],
)
def test_clips_that_cannot_be(digits, frames, objects, said):
    with pytest.raises(ValueError, match=said):
        draw_clip(digits, np.random.default_rng(0), frames, objects)


# Files


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
    with pytest.raises(ValueError, match='clips must be at least 1, got 0'):
        write_davis(tmp_path, 0, 4)


def test_nothing_is_left_of_a_run_that_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr('mmentropy.transfer.clips.save_ids', lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_davis(tmp_path, 2, 4)
    assert not list(tmp_path.iterdir())


def test_ids_are_indexed_in_the_colours_of_davis(tmp_path):
    ids = np.array([[0, 1, 2], [3, 4, 22]], np.uint8)
    save_ids(tmp_path / 'ids.png', ids)
    with Image.open(tmp_path / 'ids.png') as image:
        assert image.mode == 'P'
        assert np.array_equal(np.array(image), ids)
        colours = np.array(image.convert('RGB'))
    # davis2017/utils.py: the colour map of PASCAL VOC.
    assert colours.tolist() == [
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
        [[128, 128, 0], [0, 0, 128], [0, 192, 128]],
    ]


def test_void_is_ground(tmp_path):
    save_ids(tmp_path / 'ids.png', np.array([[255, 1]], np.uint8))
    assert read_ids(tmp_path / 'ids.png', (1, 2)).tolist() == [[0, 1]]


def test_what_is_missing_is_named(root):
    clips = read_davis(root)
    clips[1].masks[0].unlink()
    with pytest.raises(
        FileNotFoundError, match=r'digits001 lacks 1 of 4 annotations, e.g. .*00000\.png$'
    ):
        read_davis(root)
    for path in clips[0].images[2:]:
        path.unlink()
    with pytest.raises(ValueError, match='digits000 has 2 frames'):
        read_davis(root)
    for path in clips[0].images[:2]:
        path.unlink()
    with pytest.raises(FileNotFoundError, match='digits000 has no frames'):
        read_davis(root)
    (root / 'ImageSets/2017/val.txt').write_text('\n')
    with pytest.raises(ValueError, match='names no sequence'):
        read_davis(root)
    with pytest.raises(FileNotFoundError, match='val.txt is missing'):
        read_davis(root / 'other')


def test_annotations_that_are_none(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'rgb.png')
    with pytest.raises(ValueError, match='rgb.png is RGB, not an indexed'):
        read_ids(tmp_path / 'rgb.png', (4, 4))
    save_ids(tmp_path / 'ids.png', np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r'ids.png is 6 x 4, its frame 6 x 5$'):
        read_ids(tmp_path / 'ids.png', (5, 6))


# Measures


def blobs(rng, shape=(70, 131)):
    """A mask with smooth borders that touch those of the image."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(3):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(5, 25) ** 2
    return mask


def slow_edges(mask):
    """davis2017/metrics.py: _seg2bmap, pixel by pixel."""
    height, width = mask.shape
    edges = []
    for y in range(height):
        for x in range(width):
            down, right = y + 1 < height, x + 1 < width
            others = [mask[y, x + 1]] if right else []
            others += [mask[y + 1, x]] if down else []
            others += [mask[y + 1, x + 1]] if down and right else []
            if any(o != mask[y, x] for o in others):
                edges.append((y, x))
    return edges


def slow_boundary(truth, found):
    """davis2017/metrics.py: f_measure, by distances of all pairs."""
    a, b = slow_edges(truth), slow_edges(found)
    if not a and not b:
        return 1.0
    if not a or not b:
        return 0.0
    bound = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))

    def share(these, those):
        those = np.array(those)
        close = [((those - p) ** 2).sum(1).min() <= bound**2 for p in these]
        return sum(close) / len(close)

    precision, recall = share(b, a), share(a, b)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def test_boundary_equals_the_slow_one():
    rng = np.random.default_rng(0)
    values = []
    for i in range(8):
        truth = blobs(rng)
        # Moved, so that some boundaries are within the bound of 2 pixels.
        found = np.roll(truth, (i % 3, i % 4 - 1), (0, 1)) if i < 6 else blobs(rng)
        values.append(boundary(truth, found))
        assert values[-1] == pytest.approx(slow_boundary(truth, found), 1e-12)
        # The shares change places, their mean does not.
        assert boundary(found, truth) == pytest.approx(values[-1], 1e-12)
    assert len({round(v, 3) for v in values}) > 4


def test_boundary_is_bounded_by_the_diagonal():
    """At 480 x 854 a boundary may be off by ceil(7.84) pixels."""
    truth = np.zeros((480, 854), bool)
    truth[:, 400:] = True
    for shift, expected in ((8, 1.0), (9, 0.0)):
        assert boundary(truth, np.roll(truth, shift, 1) & truth) == expected


def test_empty_masks():
    empty, full = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    full[3:6, 3:6] = True
    assert region(empty, empty) == boundary(empty, empty) == 1
    assert region(full, empty) == boundary(full, empty) == 0
    assert region(empty, full) == boundary(empty, full) == 0
    with pytest.raises(ValueError, match=r'\(9, 9\) and \(9, 8\)'):
        boundary(full, full[:, 1:])


def test_region_is_intersection_over_union():
    rng = np.random.default_rng(1)
    for _ in range(5):
        truth, found = blobs(rng), blobs(rng)
        pairs = list(zip(truth.ravel(), found.ravel()))
        union = sum(a or b for a, b in pairs)
        assert region(truth, found) == sum(a and b for a, b in pairs) / union


def official_statistics(values):
    """davis2017/utils.py: db_statistics, without its NaNs."""
    values = np.asarray(values)
    ids = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    bins = [values[ids[i] : ids[i + 1] + 1] for i in range(4)]
    return values.mean(), (values > 0.5).mean(), bins[0].mean() - bins[3].mean()


@pytest.mark.parametrize('frames', [3, 4, 5, 6, 7, 8, 9, 12, 50, 105, 300])
def test_scores_equal_the_official_ones(frames):
    """Objects of the first frame; first and last frame are not scored."""
    rng = np.random.default_rng(frames)
    truth = rng.integers(0, 3, (frames, 3, 4), np.uint8)
    found = np.where(
        rng.random(truth.shape) < 0.7, truth, rng.integers(0, 3, truth.shape, np.uint8)
    )
    truth[0, 0, 0] = 2
    # Object 3 comes later, so it is nobody's.
    truth[1:, -1, -1] = found[:, -1, -1] = 3
    scores = score_clip(list(truth), list(found))
    assert len(scores) == 2
    for i, (j, f) in enumerate(scores, 1):
        pairs = [(truth[t] == i, found[t] == i) for t in range(1, frames - 1)]
        expected = official_statistics([region(*p) for p in pairs])
        assert tuple(j) == pytest.approx(expected, abs=1e-12)
        expected = official_statistics([boundary(*p) for p in pairs])
        assert tuple(f) == pytest.approx(expected, abs=1e-12)


def test_recall_counts_above_one_half():
    truth = np.zeros((6, 2, 2), np.uint8)
    truth[:, 0] = 1
    found = truth.copy()
    # Exactly one half, 1, one third, 1.
    found[1, 0, 0] = 0
    found[3, 0, 0], found[3, 1, 1] = 0, 1
    ((j, _),) = score_clip(list(truth), list(found))
    assert j.mean == pytest.approx((0.5 + 1 + 1 / 3 + 1) / 4)
    assert j.recall == 0.5


def test_what_cannot_be_scored():
    ids = [np.ones((2, 2), np.uint8)] * 3
    with pytest.raises(ValueError, match='2 frames cannot be scored against'):
        score_clip(ids, ids[:2])
    with pytest.raises(ValueError, match='at least 3'):
        score_clip(ids[:2], ids[:2])
    with pytest.raises(ValueError, match='first frame shows no object'):
        score_clip([ids[0] * 0, *ids[1:]], ids)
