"""Labelled subsets, and the tool that lists them."""

import importlib.util
import sys
from pathlib import Path

import fake_data
import numpy as np
import pytest
from messages import one_line
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from repository import REPOSITORY

from mmentropy.datasets import (
    Digits,
    label_subset,
    subset_names,
)

ROOT = REPOSITORY


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpretrain')


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def folder(root: Path, **sizes: int) -> dict:
    """The config of a folder with these numbers of files in its classes."""
    for name, size in sizes.items():
        for i in range(size):
            path = root / name / f'{name}{i:02}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return dict(type='CustomDataset', data_root=str(root))


@pytest.mark.slow
def test_subset_of_each_class(tmp_path):
    cfg = folder(tmp_path, a=10, b=26, c=3)
    dataset = label_subset(cfg, fraction=0.1)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [1, 3, 1]
    dataset = label_subset(cfg, shots=2)
    assert np.bincount(dataset.get_gt_labels()).tolist() == [2, 2, 2]
    names = subset_names(dataset)
    assert len(set(names)) == 6 and names == sorted(names)
    assert len(label_subset(cfg, fraction=1)) == 39


@pytest.mark.slow
def test_subset_is_the_same_for_ever(tmp_path):
    cfg = folder(tmp_path, a=10, b=10)

    def draw(**kwargs):
        return subset_names(label_subset(cfg, **kwargs))

    assert draw(shots=2) == draw(shots=2, seed=0) == draw(fraction=0.2)
    assert draw(shots=2) == PINNED
    assert len({tuple(draw(shots=2, seed=seed)) for seed in range(5)}) == 5
    # Not the same places in each class.
    assert len({name[1:] for name in draw(shots=2)}) > 2
    # A larger one has the smaller in it.
    assert set(draw(shots=2)) < set(draw(fraction=0.5))


PINNED = ['a03.png', 'a07.png', 'b04.png', 'b09.png']


def test_subset_does_not_depend_on_row_order(tmp_path):
    cfg = folder(tmp_path, a=10, b=10)
    lines = [f'b/b{i:02}.png 1' for i in range(10)]
    lines += [f'a/a{i:02}.png 0' for i in range(9, -1, -1)]
    file = fake_data.text(tmp_path / 'list.txt', lines)
    other = label_subset(dict(cfg, ann_file=str(file)), shots=3)
    names = subset_names(label_subset(cfg, shots=3))
    # In the order of its own rows.
    assert subset_names(other) == names[3:] + names[2::-1]


@pytest.mark.slow
def test_subset_of_arrays(tmp_path):
    whole = Digits()
    few = label_subset(dict(type='Digits'), shots=4, seed=1)
    assert np.bincount(few.get_gt_labels()).tolist() == [4] * 10
    pixels = {i['img'].tobytes(): i['gt_label'] for i in infos(whole)}
    assert all(pixels[i['img'].tobytes()] == i['gt_label'] for i in infos(few))
    cfg = fake_data.make(dict(type='STL10'), tmp_path)
    assert len(label_subset(cfg, fraction=0.5)) == 4
    with pytest.raises(ValueError, match='no image files') as e:
        subset_names(whole)
    one_line(e)


def test_subset_in_a_data_loader(tmp_path):
    cfg = fake_data.make(
        dict(
            type='LabelSubset',
            dataset=dict(type='Digits', pipeline=[dict(type='PackInputs')]),
            shots=4,
        ),
        tmp_path,
    )
    loader = Runner.build_dataloader(
        dict(dataset=cfg, batch_size=40, sampler=dict(type='DefaultSampler', shuffle=True))
    )
    (batch,) = loader
    assert len(batch['inputs']) == 40


def test_subset_by_name(tmp_path):
    cfg = folder(tmp_path / 'images', a=4, b=4)
    # In any order, and with blank lines and blanks.
    file = fake_data.text(tmp_path / 'list.txt', ['b03.png ', '', 'a01.png'])
    dataset = label_subset(cfg, names=str(file))
    assert subset_names(dataset) == ['a01.png', 'b03.png']
    assert dataset.get_gt_labels().tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    'lines,expected',
    [
        (['a00.png', 'x2.png', 'x1.png'], ('2 of 3', 'x1.png')),
        (['a00.png', 'same.png'], ('1 of 2', 'same.png')),
        (['', ' '], ('0 of 0',)),
    ],
)
def test_subset_wrong_names(lines, expected, tmp_path):
    cfg = folder(tmp_path / 'images', a=4, b=4)
    for name in 'ab':
        (tmp_path / 'images' / name / 'same.png').touch()
    file = fake_data.text(tmp_path / 'list.txt', lines)
    with pytest.raises(ValueError, match='CustomDataset') as e:
        label_subset(cfg, names=str(file))
    text = one_line(e)
    assert all(part in text for part in (*expected, str(file)))


@pytest.mark.parametrize(
    'arguments,message',
    [
        (dict(), 'exactly one of .* got none'),
        (dict(fraction=0.1, shots=2), 'exactly one .* got fraction and shots'),
        (dict(shots=2, names='a.txt'), 'exactly one .* got shots and names'),
        (dict(fraction=0), r'fraction must be a number in \(0, 1\], or None, got 0'),
        (dict(fraction=1.5), r'fraction must be a number in \(0, 1\], or None, got 1.5'),
        (dict(shots=0), 'shots must be an integer >= 1, or None, got 0'),
        (dict(shots=5), 'class 1 of CustomDataset has 4 rows, .* shots=5'),
    ],
)
def test_subset_wrong_arguments(arguments, message, tmp_path):
    cfg = folder(tmp_path, a=6, b=4)
    with pytest.raises(ValueError, match=message) as e:
        label_subset(cfg, **arguments)
    one_line(e)


@pytest.mark.parametrize(
    'name,message', [('ImageFolder', 'row 0 .* no label'), ('VOC', 'row 0 .* several labels')]
)
def test_subset_needs_one_label(name, message, tmp_path):
    cfg = fake_data.make(dict(type=name), tmp_path)
    with pytest.raises(ValueError, match=message) as e:
        label_subset(cfg, shots=1)
    one_line(e)


def test_subset_of_wrapper(tmp_path):
    cfg = dict(type='ConcatDataset', datasets=[dict(type='Digits')])
    with pytest.raises(TypeError, match='ConcatDataset') as e:
        label_subset(cfg, shots=1)
    one_line(e)


@pytest.mark.slow
def test_make_subset(tmp_path, monkeypatch, capsys):
    """The list that the tool writes names the rows of the fraction."""
    cfg = folder(tmp_path / 'images', a=10, b=20)
    config = tmp_path / 'config.py'
    config.write_text(
        f'train_dataloader = dict(dataset={dict(cfg, pipeline=[dict(type="PackInputs")])})\n'
    )
    out = tmp_path / 'list.txt'
    arguments = [str(config), '--fraction', '0.2', '--seed', '3', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['make_subset.py', *arguments])
    tool('make_subset').main()
    assert '6 names' in capsys.readouterr().out
    drawn = subset_names(label_subset(cfg, fraction=0.2, seed=3))
    assert out.read_text().splitlines() == sorted(drawn)
    assert subset_names(label_subset(cfg, names=str(out))) == drawn
    # A name that is not drawn again is still that of two images.
    out.unlink()
    (tmp_path / 'images' / 'b' / next(name for name in drawn if name[0] == 'a')).touch()
    with pytest.raises(ValueError, match='1 of 6 names are .* several .*fraction=0.2, seed=3') as e:
        tool('make_subset').main()
    one_line(e)
    assert not out.exists()
