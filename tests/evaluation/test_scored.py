"""Scores that would mean nothing are refused, and those that mislead are said to."""

import pytest
import torch
from messages import one_line
from mmpretrain.registry import DATASETS
from PIL import Image

from mmentropy.evaluation import (
    build_knn_data,
    features,
    knn_accuracy,
    linear_probe,
    low_shot,
    minent_linear_probe,
    scored,
    svm_score,
)
from mmentropy.evaluation.features import pixel_features
from mmentropy.evaluation.scored import check_scored

SCORES = (knn_accuracy, linear_probe, low_shot, minent_linear_probe, svm_score)
ONE_CLASS = 'rows are of class 3, so that a score would mean nothing'


class Listed:
    """A data set that lists images and classes."""

    def __init__(self, paths, labels):
        self.rows = [
            dict(img_path=path, gt_label=label) for path, label in zip(paths, labels, strict=True)
        ]

    def __len__(self):
        return len(self.rows)

    def get_data_info(self, index):
        return self.rows[index]


# Paths and classes of training and of test images, and what is said of them.
REFUSED = {
    'one training class': ('abcd', [3, 3, 3, 3], 'ef', [3, 4], f'all training {ONE_CLASS}'),
    'one test class': ('abcd', [3, 4, 3, 4], 'ef', [3, 3], f'all test {ONE_CLASS}'),
    'other classes': ('abcd', [0, 1, 0, 1], 'ef', [2, 3], 'no class of the test rows is in a'),
    'the same images': ('abcd', [0, 1, 0, 1], 'ab', [0, 1], '2 of 2 test images are training'),
}
SAID = {
    'some other classes': ('abcd', [0, 1, 0, 1], 'efg', [0, 1, 2], '1 of 3 test rows count as'),
    'some of the images': ('abcd', [0, 1, 0, 1], 'be', [1, 0], '1 of 2 test images are training'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_data_sets_that_score_nothing(name):
    train, train_y, test, test_y, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as error:
        check_scored(Listed(train, train_y), Listed(test, test_y))
    assert one_line(error)


@pytest.fixture
def said(monkeypatch):
    """Return the texts that are logged."""
    texts = []
    for module in (scored, features):
        monkeypatch.setattr(module, 'print_log', lambda text, **kwargs: texts.append(text))
    return texts


@pytest.mark.parametrize('name', SAID)
def test_data_sets_whose_scores_mislead(name, said):
    train, train_y, test, test_y, message = SAID[name]
    check_scored(Listed(train, train_y), Listed(test, test_y))
    assert len(said) == 1 and message in said[0]


def test_data_sets_that_score_something(said):
    check_scored(Listed('abcd', [0, 1, 0, 1]), Listed('ef', [0, 1]))
    check_scored(Listed('ab', [[0, 1], [1]]), Listed('cd', [[0], [0]]))
    check_scored([], Listed('ab', [0, 0]))
    # Two entries that name no image may be different images.
    unknown = Listed('ab', [0, 1])
    for row in unknown.rows:
        del row['img_path']
    check_scored(unknown, unknown)
    assert not said


def folders(root, names, **kwargs):
    """A data set of two images in each folder."""
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(2):
            Image.new('RGB', (4, 4), (60 * i, 0, 0)).save(root / name / f'{i}.png')
    return DATASETS.build(dict(type='ClassFolders', data_root=str(root), pipeline=[], **kwargs))


def test_a_split_that_lacks_a_class(tmp_path):
    """Its labels are those of the other split only where both are told the classes."""
    train, test = tmp_path / 'train', tmp_path / 'test'
    with pytest.raises(ValueError, match="class 'c' is label 2 .* 1 of the test .*metainfo") as e:
        check_scored(folders(train, 'abc'), folders(test, 'ac'))
    assert one_line(e)
    # The labels are not shifted where the last class is absent, or classes have other names.
    check_scored(folders(tmp_path / 'all', 'abc'), folders(tmp_path / 'some', 'ab'))
    check_scored(folders(tmp_path / 'ids', 'abc'), folders(tmp_path / 'words', 'xyz'))
    told = dict(metainfo=dict(classes=['a', 'b', 'c']))
    pair = [folders(tmp_path / 'told' / name, name, **told) for name in ('abc', 'ac')]
    check_scored(*pair)
    assert [data.get_gt_labels().tolist() for data in pair] == [[0, 0, 1, 1, 2, 2], [0, 0, 2, 2]]


def test_links_are_the_images_they_lead_to(tmp_path):
    train = folders(tmp_path / 'train', 'ab')
    for way in ('files', 'folder'):
        root = tmp_path / way
        root.mkdir()
        for name in 'ab':
            if way == 'folder':
                (root / name).symlink_to(tmp_path / 'train' / name)
                continue
            (root / name).mkdir()
            for i in range(2):
                (root / name / f'{i}.png').symlink_to(tmp_path / 'train' / name / f'{i}.png')
        with pytest.raises(ValueError, match='4 of 4 test images are training images'):
            check_scored(train, folders(root, ''))


def test_images_without_a_label_are_told():
    test = Listed('ef', [0, 1])
    with pytest.raises(ValueError, match='Listed lacks labels .* of 1 of 3 images') as error:
        check_scored(Listed('abc', [0, 1, None]), test)
    assert one_line(error)
    check_scored(Listed('abc', [None] * 3), test)


@pytest.mark.parametrize('score', SCORES)
def test_labels_that_score_nothing(score):
    x, mixed = torch.randn(40, 3), torch.arange(40) % 2
    for train_y, test_y in [(mixed * 0 + 3, mixed), (mixed, mixed * 0 + 3), (mixed, mixed + 7)]:
        with pytest.raises(ValueError, match='so that a score would mean nothing'):
            score(x, train_y, x, test_y)


def digits(split, indices=40):
    return dict(type='Digits', split=split, indices=indices, pipeline=[dict(type='PackInputs')])


def test_arrays_are_images_too():
    with pytest.raises(ValueError, match='40 of 40 test images are training images'):
        build_knn_data(digits('train', 80), digits('train'), 20)
    with pytest.raises(ValueError, match=r'k must be in 1\.\.40'):
        build_knn_data(digits('train'), digits('test'), 41)
    assert [*map(len, build_knn_data(digits('train'), digits('test'), 20))] == [40, 40]


def test_a_collapse_is_up_to_rounding():
    x = torch.ones(40, 3) + 1e-4 * torch.randn(40, 3)
    assert features.collapsed(x) and not features.collapsed(x + torch.arange(40.0)[:, None])


@pytest.mark.parametrize('same', [True, False])
def test_a_collapse_is_said(same, said):
    dataset = DATASETS.build(digits('train'))
    if same:
        first = dataset.get_data_info(0)['img']
        dataset.load_data_list = lambda: [dict(img=first, gt_label=i % 2) for i in range(40)]
        dataset._fully_initialized = False
        dataset.full_init()
    pixel_features(dataset)
    assert ['has collapsed' in text for text in said] == [True] * same
