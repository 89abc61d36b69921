"""Checkpoints that declare more than they have are refused before memory is taken."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from forked import python
from messages import one_line

from mmentropy.compat.mmengine_checkpoint import load_url
from mmentropy.weights.checksum import check_file
from mmentropy.weights.exchange_files import load_weights
from mmentropy.weights.reader import load, read_checkpoint

# It prints how much the most memory grew while a file was refused, in bytes.
MEASURE = """
import re, sys
from pathlib import Path
from mmentropy.weights.exchange_files import load_weights

def memory(name):
    return int(re.search(name + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024

for path in sys.argv[1:]:
    Path('/proc/self/clear_refs').write_text('5')
    before = memory('VmRSS')
    try:
        load_weights(path)
        print('read', end=' ')
    except ValueError:
        pass
    print(memory('VmHWM') - before)
"""


def rewritten(source, target, change=lambda name, data: data, kind=zipfile.ZIP_STORED):
    """Copy a torch file, its parts passed through ``change``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', kind) as new:
        for item in old.infolist():
            new.writestr(item.filename, change(item.filename, old.read(item)))
    return target


def in_pickle(change):
    return lambda name, data: change(data) if name.endswith('data.pkl') else data


def larger_storage(data):
    """Let the storage of 1,000 floats have two billion."""
    assert data.count(b'M\xe8\x03t') == 1
    return data.replace(b'M\xe8\x03t', b'J' + struct.pack('<i', 2_000_000_000) + b't')


class SharedBytes:
    """Arrays whose elements are in the file once."""

    data = bytes(10_000_000)

    def __reduce__(self):
        function, args, state = np.zeros(1, np.uint8).__reduce__()
        return function, args, (state[0], (len(self.data),), *state[2:4], self.data)


LISTS = b'\x80\x02(' + b']' * 2_000_000 + b'l.'


def all_directory(count):
    """A zip file of one empty part, which its directory lists by many names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('a', b'')
    content = file.getvalue()
    first, end = content.index(b'PK\1\2'), content.index(b'PK\5\6')
    entry = bytearray(content[first:end])
    entry[28:30] = struct.pack('<H', 6)
    listed = b''.join(bytes(entry[:46]) + b'%06x' % i for i in range(count))
    last = bytearray(content[end:])
    last[8:16] = struct.pack('<HHL', 0xFFFF, 0xFFFF, len(listed))
    return content[:first] + listed + bytes(last)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return a folder of files, the honest one among them."""
    folder = tmp_path_factory.mktemp('files')
    honest = folder / 'honest.pth'
    torch.save(dict(state_dict=dict(w=torch.ones(1000))), honest)
    rewritten(honest, folder / 'storage.pth', in_pickle(larger_storage))
    rewritten(honest, folder / 'steps.pth', in_pickle(lambda data: LISTS))
    zeros = bytes(300_000_000)
    rewritten(
        honest,
        folder / 'bomb.pth',
        lambda name, data: zeros if '/data/' in name else data,
        zipfile.ZIP_DEFLATED,
    )
    torch.save(dict(w=torch.ones(1).expand(17_000_000_000)), folder / 'expanded.pth')
    torch.save([SharedBytes() for _ in range(40)], folder / 'arrays.pth')
    header = [0x1950A86A20F9469CFC6C, 1001, {}]
    old = b''.join(pickle.dumps(value, 2) for value in header)
    (folder / 'old_steps.pth').write_bytes(old + LISTS)
    (folder / 'twice.pth').write_bytes(honest.read_bytes())
    with zipfile.ZipFile(folder / 'twice.pth', 'a') as archive:
        archive.writestr('HONEST/DATA.PKL', LISTS)
    for name, size in dict(long=2**60, lying=500).items():
        data = b'{"w":{"dtype":"F32","shape":[9000000000],"data_offsets":[0,36000000000]}}'
        (folder / f'{name}.safetensors').write_bytes(struct.pack('<Q', size) + data.ljust(500))
    (folder / 'directory.pth').write_bytes(all_directory(700_000))
    return folder


REFUSED = dict(
    storage='declares 8,000,000,000 bytes where it has 4,000',
    steps='more than 400,000 steps',
    bomb='is compressed',
    arrays='tensors are larger than the file',
    expanded='tensors are larger than the file',
    old_steps='more than 400,000 steps',
    twice='two of its parts have one name',
    directory='it lists its parts in more than',
)


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_not_there_is_refused(files, name):
    path = files / f'{name}.pth'
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(ValueError, match=f'refused: .*{REFUSED[name]}.*; no checkpoint') as e:
            load(source)
        one_line(e)
    with pytest.raises(ValueError, match=REFUSED[name]):
        read_checkpoint(path)


def test_the_checksums_of_a_directory_without_end_are_not_compared(files, monkeypatch):
    monkeypatch.delattr(zipfile, 'ZipFile')
    check_file(files / 'directory.pth')


def test_a_header_that_is_too_long_is_refused(files):
    with pytest.raises(ValueError, match='its header is 1,152,921,504,606,846,976 bytes') as error:
        load_weights(files / 'long.safetensors')
    one_line(error)


def test_what_is_downloaded_is_checked_too(files, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    found = load_url((files / 'honest.pth').as_uri(), progress=False)
    assert found['state_dict']['w'].sum() == 1000
    with pytest.raises(ValueError, match='refused: it declares'):
        load_url((files / 'storage.pth').as_uri(), progress=False)
    assert (tmp_path / 'checkpoints/honest.pth').is_file()


def test_what_cannot_be_downloaded_is_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    url = (tmp_path / 'absent.pth').as_uri()
    with pytest.raises(
        OSError, match='absent.pth could not be downloaded: .*No such file'
    ) as error:
        load_url(url, progress=False)
    one_line(error)


def test_honest_files_are_read(files, tmp_path):
    values = [
        torch.ones(3, 4)[1:, ::2],
        torch.ones(1).expand(100),
        torch.zeros(0, 5),
        torch.ones(4, dtype=torch.bfloat16),
        torch.arange(3, dtype=torch.int8),
        torch.tensor(1 + 2j),
        torch.nn.Parameter(torch.ones(2)),
    ]
    for new in (True, False):
        torch.save(values, tmp_path / 'file.pth', _use_new_zipfile_serialization=new)
        found = load(tmp_path / 'file.pth')
        assert [value.dtype for value in found] == [value.dtype for value in values]
        assert all(torch.equal(a, b) for a, b in zip(found[:6], values[:6], strict=True))
    assert load(files / 'honest.pth')['state_dict']['w'].sum() == 1000


@pytest.mark.slow
def test_memory_stays_below_twice_the_file(files):
    paths = sorted(files.iterdir())
    done = python('-c', MEASURE, *paths)
    assert done.returncode == 0, done.stderr
    for path, line in zip(paths, done.stdout.splitlines()[-len(paths) :], strict=True):
        print(path.name, line)
        assert line.startswith('read') == (path.name == 'honest.pth')
        assert int(line.split()[-1]) < 2 * path.stat().st_size + 200_000_000, path.name
