"""Which files of a folder are listed, links, pipes and circles included."""

import os

import pytest
from image_kinds import MIXED, PNG, lay
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mmentropy.datasets import image_listing

LOAD = [dict(type='CheckedLoadImageFromFile')]


@pytest.fixture(autouse=True)
def _own_run(monkeypatch):
    """No run but those of the test."""
    init_default_scope('mmpretrain')
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())


def test_listing(tmp_path, monkeypatch):
    root = tmp_path / 'root'
    names = {*map(str, MIXED), 'deep/er/a.jpg', 'folder.jpg/b.jpg'}
    lay(root, dict.fromkeys(names | {'.hidden/c.jpg', 'deep/.d.jpg'}, PNG))
    links = {
        'lost.jpg': tmp_path / 'gone.jpg',
        'itself.jpg': root / 'itself.jpg',
        'circle': root,
        'device.jpg': '/dev/zero',
        'lost folder': tmp_path / 'unmounted',
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / 'pipe.jpg')
    said = []
    monkeypatch.setattr(image_listing, 'print_log', lambda text, **kwargs: said.append(text))
    found = image_listing.list_files(str(root))
    assert found == sorted(names | {'lost.jpg', 'itself.jpg', 'lost folder'})
    lost, circle = said
    assert repr(str(root / 'lost folder')) in lost
    assert repr(str(root / 'circle')) in circle and 'were listed already' in circle
    assert image_listing.list_folders(str(root)) == ['circle', 'deep', 'folder.jpg']
    assert len(said) == 3
    data = DATASETS.build(dict(type='ImageFolder', data_root=str(root), pipeline=LOAD))
    assert len(data) == len(names) + 2
    assert [data[i] for i in range(len(data))] and data.num_unreadable == 2


def test_folders_of_two_links_each_are_listed_once(tmp_path):
    """There are 2**40 paths to the last."""
    for i in range(40):
        (tmp_path / str(i)).mkdir()
        for name in 'ab':
            (tmp_path / str(i) / name).symlink_to(tmp_path / str(i + 1))
    (tmp_path / '40').mkdir()
    (tmp_path / '40/1.png').write_bytes(PNG)
    assert image_listing.list_files(str(tmp_path / '0')) == ['a/' * 40 + '1.png']


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    """Root may list any folder, so the system call has to be replaced."""
    (tmp_path / 'a/locked').mkdir(parents=True)
    (tmp_path / 'a/1.png').write_bytes(PNG)
    scandir = os.scandir

    def locked(path):
        if str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', locked)
    for kind in ('ImageFolder', 'ClassFolders'):
        with pytest.raises(OSError, match='make it readable') as e:
            DATASETS.build(dict(type=kind, data_root=str(tmp_path)))
        assert f"'{tmp_path}/a/locked' (Permission denied)" in str(e.value)
    with pytest.raises(FileNotFoundError, match='set data_root'):
        DATASETS.build(dict(type='ImageFolder', data_root=str(tmp_path / 'a/1.png'), pipeline=LOAD))
