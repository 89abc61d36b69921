"""Files of DAVIS and its measures, against a slow transcription."""

import math

import numpy as np
import pytest
from digits_demos import write_davis
from PIL import Image

from mmentropy.evaluation.davis import (
    boundary,
    read_davis,
    read_ids,
    region,
    save_ids,
    score_clip,
)


@pytest.fixture()
def root(tmp_path):
    write_davis(tmp_path, clips=2, frames=4)
    return tmp_path


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


@pytest.mark.slow
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


def test_the_first_mask_of_every_clip_shows_an_object(root):
    mask = read_davis(root)[1].masks[0]
    save_ids(mask, np.full((96, 96), 255, np.uint8))
    with pytest.raises(ValueError, match='digits001 shows no object in its .*00000.png: mend it'):
        read_davis(root)


def test_annotations_that_are_none(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'rgb.png')
    with pytest.raises(ValueError, match='rgb.png is RGB, not an indexed'):
        read_ids(tmp_path / 'rgb.png', (4, 4))
    save_ids(tmp_path / 'ids.png', np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r'ids.png is 6 x 4, its frame 6 x 5$'):
        read_ids(tmp_path / 'ids.png', (5, 6))


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


@pytest.mark.slow
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
