"""Damaged checkpoints are refused, or read as if they were whole."""

import random
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmentropy.weights.checksum import check_file
from mmentropy.weights.files import save_whole
from mmentropy.weights.reader import read_checkpoint

VALUE = dict(
    state_dict={f'layer{i}.weight': torch.arange(100.0) + i for i in range(4)},
    optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1)]),
    message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0, 2.0], [1, 1]))),
    meta=dict(epoch=3, iter=12, cfg='model = dict()'),
    draws=np.arange(16),
)


def same(a, b):
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, HistoryBuffer):
        return same(a.data, b.data)
    if isinstance(a, (Tensor, np.ndarray)):
        return a.dtype == b.dtype and bool((a == b).all())
    return a == b


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp('whole') / 'whole.pth'
    save_whole(VALUE, path)
    return path


def is_refused(path):
    """Return whether a damaged file is refused; otherwise it must read as the whole one."""
    try:
        found = read_checkpoint(path)
    except ValueError as error:
        assert str(path) in str(error) and '\n' not in str(error)
        return True
    assert same(found, VALUE)
    return False


def flipped(data, place, bit):
    data = bytearray(data)
    data[place] ^= 1 << bit
    return bytes(data)


def places_of_content(path):
    """Return each byte of a member's content, but none of the alignment between members."""
    with open(path, 'rb') as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.file_size:
                with archive.open(member) as content:
                    start = content._orig_compress_start
                yield from range(start, start + member.file_size)


def test_a_flip_in_the_content_is_refused(whole, tmp_path):
    data, path = whole.read_bytes(), tmp_path / 'damaged.pth'
    places, rng = list(places_of_content(whole)), random.Random(0)
    assert len(places) > 2500
    for place in rng.sample(places, 150):
        path.write_bytes(flipped(data, place, rng.randrange(8)))
        assert is_refused(path), place


@pytest.mark.slow
def test_a_flip_between_the_members_changes_nothing_that_is_read(whole, tmp_path):
    data, path = whole.read_bytes(), tmp_path / 'damaged.pth'
    content, rng = set(places_of_content(whole)), random.Random(1)
    places = [place for place in range(len(data)) if place not in content]
    refused = 0
    for place in [*rng.sample(places, 250), *range(len(data) - 50, len(data))]:
        path.write_bytes(flipped(data, place, rng.randrange(8)))
        refused += is_refused(path)
    # The names and sizes of the members are looked at, their dates are not.
    assert refused > 60


def test_a_member_that_became_a_folder_is_refused(whole, tmp_path):
    """Torch would read its memory as it happens to be."""
    path = tmp_path / 'damaged.pth'
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, 'w') as new:
        for member in old.infolist():
            content = old.read(member)
            member.external_attr = 0x10 if member.filename.endswith('data/2') else 0
            new.writestr(member, content)
    with pytest.raises(ValueError, match='its part .*data/2 is not what was written'):
        check_file(path)


def test_a_cut_is_refused(whole, tmp_path):
    data, path = whole.read_bytes(), tmp_path / 'damaged.pth'
    rng = random.Random(2)
    for size in [*(rng.randrange(len(data)) for _ in range(60)), *range(len(data) - 60, len(data))]:
        path.write_bytes(data[:size])
        assert is_refused(path), size
        start = rng.randrange(size)
        path.write_bytes(data[:start] + data[size:])
        assert is_refused(path), (start, size)


def test_zeros_in_place_of_a_block_are_refused(whole, tmp_path):
    data, path = whole.read_bytes(), tmp_path / 'damaged.pth'
    for start in range(0, len(data) - 512, 512):
        path.write_bytes(data[:start] + bytes(512) + data[start + 512 :])
        assert is_refused(path), start


@pytest.mark.parametrize('extra', [1, 100, 100_000])
def test_bytes_behind_the_end_change_nothing_that_is_read(whole, tmp_path, extra):
    path = tmp_path / 'longer.pth'
    path.write_bytes(whole.read_bytes() + random.Random(extra).randbytes(extra))
    assert is_refused(path) == (extra > 2**16)


def test_files_without_checksums_are_read(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save(VALUE, path, _use_new_zipfile_serialization=False)
    assert not is_refused(path)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(VALUE, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert not is_refused(path)


def test_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a directory'):
        check_file(tmp_path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        check_file(tmp_path / 'none.pth')
