"""Checkpoints that try to run code, and those that mmengine writes."""

import codecs
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from crafted_pickle import CRAFTED, crafted, named, rewritten, with_entry
from forked import python
from harmful_pickle import Harmful
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import CheckpointLoader

import mmentropy  # noqa: F401, puts the reader in mmengine's place
from mmentropy.weights.reader import load, read_checkpoint


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp('plain') / 'plain.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), meta={}), path)
    return path


# -- What is refused ---------------------------------------------------------


def test_harmful_pickle_is_refused_and_not_run(tmp_path):
    path, marker = tmp_path / 'harmful.pth', tmp_path / 'marker'
    content = dict(state_dict=dict(weight=torch.ones(2)), meta=Harmful(marker))
    torch.save(content, path)
    with pytest.raises(ValueError, match='refused: it holds posix.mkdir') as e:
        read_checkpoint(path)
    assert '\n' not in str(e.value) and not marker.exists()
    # The file does harm where it is trusted.
    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize('kind', CRAFTED)
@pytest.mark.parametrize('read', [read_checkpoint, CheckpointLoader.load_checkpoint])
def test_a_crafted_checkpoint_runs_nothing(kind, read, plain, tmp_path):
    """Both ran their command with the real ``getattr`` and real classes."""
    canary = tmp_path / 'was_run'
    path = str(crafted(plain, tmp_path / 'crafted.pth', kind, f'touch {canary}'))
    with pytest.raises(ValueError, match='refused: it holds') as error:
        read(path)
    assert not canary.exists()
    assert '\n' not in str(error.value)


@pytest.mark.slow
def test_a_crafted_checkpoint_runs_nothing_at_resume(plain, tmp_path):
    canary = tmp_path / 'was_run'
    path = str(crafted(plain, tmp_path / 'crafted.pth', 'one_cycle', f'touch {canary}'))
    config = 'configs/mec/r18s_1xb64_50e_digits.py'
    process = python('tools/train.py', config, '--work-dir', tmp_path / 'run', '--resume', path)
    assert process.returncode != 0
    assert 'refused: it holds' in process.stderr
    assert not canary.exists()


def with_attribute(name, value):
    state = OrderedDict()
    vars(state)[name] = value
    return state


class Described:
    """An object that is pickled as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'value',
    [
        codecs.encode,
        HistoryBuffer,
        [Described(getattr, HistoryBuffer, '__init__')],
        Described(getattr, OneCycleParamScheduler, '_get_value'),
        with_attribute('get', 1),
        with_attribute('_metadata', codecs.encode),
        np.array([{}], object),
        Described(slice, 'a'),
    ],
    ids=[
        'function',
        'class',
        'method',
        'other method',
        'attribute',
        'metadata',
        'objects',
        'slice',
    ],
)
def test_what_is_no_data_is_refused(value, tmp_path):
    torch.save(dict(more=value), tmp_path / 'file.pth')
    with pytest.raises(ValueError, match='refused: it holds') as error:
        load(tmp_path / 'file.pth')
    assert '\n' not in str(error.value)


def test_a_record_within_itself_is_refused(plain, tmp_path):
    # The state of the scalar's dtype is a tuple that holds the scalar.
    scalar = named('numpy._core.multiarray', 'scalar')
    value = scalar + b')\x81q\xf0' + b'h\xf0' + b'\x85' + b'b'
    with pytest.raises(ValueError, match='refused: it holds'):
        load(with_entry(plain, tmp_path / 'file.pth', value))


def test_unreadable_files_are_named_in_one_line(trained, tmp_path):
    whole = trained[0].read_bytes()
    files = dict(
        text=b'not a checkpoint\n',
        empty=b'',
        truncated=whole[: len(whole) // 2],
        pickled=pickle.dumps([1, 2], protocol=2),
    )
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ValueError, match=f'{name} is no checkpoint|{name} holds a list'
        ) as error:
            read_checkpoint(tmp_path / name)
        assert '\n' not in str(error.value)
    torch.save([1, 2], tmp_path / 'list')
    for name, kind, message in [
        ('list', ValueError, 'holds a list'),
        ('absent', FileNotFoundError, 'absent does not exist'),
        ('.', IsADirectoryError, 'is a directory'),
    ]:
        with pytest.raises(kind, match=message):
            read_checkpoint(tmp_path / name)


# -- What is read ------------------------------------------------------------


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = [
        np.arange(6, dtype=kind).reshape(2, 3)
        for kind in ('i1', '<i4', '>i4', 'u8', 'f2', 'f8', 'c16')
    ]
    arrays += [
        np.asfortranarray(arrays[0]),
        np.empty((0, 3)),
        np.array(['a', 'bc']),
        np.array([b'a', b'bc']),
        np.array([True, False]),
    ]
    scalars = [np.float32(1.5), np.int16(-3), np.bool_(True), np.str_('ab')]
    value = dict(arrays=arrays, scalars=scalars, rows=slice(1, None, 2))
    torch.save(value, tmp_path / 'file.pth')
    found = load(tmp_path / 'file.pth')
    for array, expected in zip(found['arrays'], arrays, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
        assert array.flags.writeable
    for scalar, expected in zip(found['scalars'], scalars, strict=True):
        assert type(scalar) is type(expected) and scalar == expected
    assert found['rows'] == slice(1, None, 2)


def test_histories_and_methods_of_schedulers(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 3], max_length=2)
    empty = HistoryBuffer()
    torch.save(
        dict(
            logs=OrderedDict(loss=history, empty=empty),
            anneal=OneCycleParamScheduler._annealing_linear,
        ),
        tmp_path / 'file.pth',
    )
    found = load(tmp_path / 'file.pth')
    read = found['logs']['loss']
    assert type(read) is HistoryBuffer
    assert read.statistics('mean') == history.statistics('mean')
    read.update(5.0)
    np.testing.assert_array_equal(read.data[0], [2.0, 5.0])
    assert len(found['logs']['empty'].data[0]) == 0
    assert found['anneal'] is OneCycleParamScheduler._annealing_linear


def test_shared_values_stay_shared_and_loops_end(tmp_path):
    tensor, loop = torch.ones(2), []
    loop.append(loop)
    keyed = {np.int64(3): 'three'}
    torch.save(dict(a=[tensor], b=[tensor], loop=loop, keyed=keyed), tmp_path / 'file.pth')
    found = load(tmp_path / 'file.pth')
    assert found['a'][0] is found['b'][0]
    assert found['loop'][0] is found['loop']
    assert found['keyed'] == {3: 'three'}


def test_reading_does_not_change_what_the_process_allows(plain):
    known = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([os.getcwd])
    try:
        load(plain)
        assert os.getcwd in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def test_reading_leaves_the_safe_globals_alone(trained, monkeypatch):
    """The reader takes none of them for its records, which do nothing."""
    known, load = torch.serialization.get_safe_globals(), torch.load
    during = []

    def watched(*args, **kwargs):
        during.extend(torch.serialization.get_safe_globals())
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, 'load', watched)
    torch.serialization.add_safe_globals([HistoryBuffer])
    try:
        before = set(torch.serialization.get_safe_globals())
        read_checkpoint(trained[0])
        assert set(torch.serialization.get_safe_globals()) == before
        assert during and HistoryBuffer not in during
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(known)


def test_reading_calls_nothing_of_mmengine(trained, tmp_path, monkeypatch):
    """HistoryBuffer would put methods from the file into the class."""
    path, _ = trained

    def fail(*args):
        raise AssertionError('called')

    with zipfile.ZipFile(path) as file:
        (name,) = [n for n in file.namelist() if n.endswith('data.pkl')]
        assert b'HistoryBuffer' in file.read(name)
    monkeypatch.setattr(HistoryBuffer, '__setstate__', fail)
    assert read_checkpoint(path)


def test_checkpoint_written_with_numpy_1(trained, tmp_path):
    path = rewritten(
        trained[0], tmp_path / 'old.pth', lambda data: data.replace(b'numpy._core.', b'numpy.core.')
    )
    found, expected = read_checkpoint(path), read_checkpoint(trained[0])
    assert found['state_dict'].keys() == expected['state_dict'].keys()
    histories = [content['message_hub']['log_scalars'] for content in (found, expected)]
    assert histories[0].keys() == histories[1].keys() and histories[0]
    for name, history in histories[1].items():
        np.testing.assert_array_equal(histories[0][name].data, history.data)


@pytest.mark.slow
def test_a_small_file_takes_little_memory(tmp_path):
    """A zip of 400 kB declares a tensor of 400 MB, which torch unpacks before it looks."""
    path, plain_file = tmp_path / 'bomb.pth', tmp_path / 'plain.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(10**8))), plain_file)
    with (
        zipfile.ZipFile(plain_file) as old,
        zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as new,
    ):
        for item in old.infolist():
            new.writestr(item.filename, old.read(item))
    plain_file.unlink()
    code = (
        'import resource, sys\n'
        'from mmentropy.weights.reader import read_checkpoint\n'
        'most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'before = most()\n'
        'try:\n'
        '    read_checkpoint(sys.argv[1])\n'
        'except ValueError as error:\n'
        '    print(most() - before, error)\n'
    )
    process = python('-c', code, path)
    assert process.returncode == 0, process.stderr
    grown, message = process.stdout.split(' ', 1)
    assert 'refused' in message
    assert int(grown) < 200_000
