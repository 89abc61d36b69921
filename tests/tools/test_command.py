"""The command ``mmentropy``, and what the hosts find in the package."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmpretrain import inference_model, list_models
from repository import REPOSITORY

from mmentropy_command import without_processes

RECIPE = 'mmentropy::mec/r18s_1xb64_50e_digits.py'


def command(*arguments, env=None):
    return subprocess.run(
        [sys.executable, REPOSITORY / 'mmentropy_command.py', *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=env,
    )


def test_names_and_help():
    assert 'train a config' in command('-h').stdout
    assert 'mec/r18s_1xb64_50e_digits' in command('configs', 'r18s').stdout.split()


@pytest.mark.parametrize('name', ['train', 'evaluate', 'doctor', 'import'])
def test_help_ends_with_an_example(name):
    text = command(name, '-h').stdout
    assert text.startswith(f'usage: mmentropy {name} ')
    assert text.split('\n\n')[-1].startswith(f'example: mmentropy {name}')


@pytest.mark.parametrize(
    'arguments',
    [
        ['configs'],
        ['config', 'mec/r18s_1xb64_50e_digits'],
        ['neighbours', 'FEATURES', '--of', 'a0.png', '-k', '1'],
    ],
)
def test_a_reader_may_leave_early(arguments, tmp_path):
    features = features_of(tmp_path, [f'a{i}.png' for i in range(9)])
    arguments = [str(features) if text == 'FEATURES' else text for text in arguments]
    script = [sys.executable, REPOSITORY / 'mmentropy_command.py', *arguments]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b''


def test_neighbours_with_names_that_are_not_unicode(tmp_path):
    features = features_of(tmp_path, ['a.png', 'caf\udce9.png', 'b.png'])
    done = command(
        *('neighbours', features, '-k', '2', '--of', 'a.png'),
        env=os.environ | {'PYTHONIOENCODING': 'utf-8:strict'},
    )
    rows = [line.split('\t')[:2] for line in done.stdout.splitlines()[-2:]]
    assert sorted(rows) == [['a.png', 'b.png'], ['a.png', 'caf\\udce9.png']], done.stderr
    assert done.returncode == 0


def features_of(folder, paths):
    """Write random features of images with these paths, and return the file."""
    rows = np.random.default_rng(0).standard_normal((len(paths), 4)).astype(np.float32)
    file = folder / 'features.npz'
    np.savez(file, features=rows, paths=np.array(paths), folder=np.array(str(folder)))
    return file


@pytest.mark.parametrize(
    'arguments, found',
    [
        (['a.py', '--seed', '2'], (['a.py', '--seed', '2'], None)),
        (['a.py', '--processes', '2', '--check'], (['a.py', '--check'], '2')),
        (['--processes=2', 'a.py'], (['a.py'], '2')),
        (['a.py', '--processes-of=2'], (['a.py', '--processes-of=2'], None)),
    ],
)
def test_processes_are_taken_out(arguments, found):
    assert without_processes(arguments) == found


@pytest.mark.parametrize('arguments', [['--processes'], ['--processes='], ['--processes=no', 'a']])
def test_processes_without_a_number(arguments):
    with pytest.raises(SystemExit, match='must be followed by a number of processes'):
        without_processes(arguments)


@pytest.mark.parametrize('arguments', [['nope'], ['configs', 'nope'], ['train', '--processes']])
def test_mistakes(arguments):
    done = command(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1


def test_configs_inherit_from_the_package(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {RECIPE!r}\n')
    model = Config.fromfile(path).model
    assert model.type == 'MEC' and '_scope_' not in model
    assert get_config(RECIPE).model.type == 'MEC'
    assert type(get_model(RECIPE)).__name__ == 'MEC'
    assert 'mec_r18s_1xb64_50e_digits' in list_models('mec*')
    with pytest.raises(NotImplementedError, match='No available inferencer for the model'):
        inference_model('mec_r18s_1xb64_50e_digits', 'image.png')


@pytest.mark.parametrize('told, found', [({}, '6000'), ({'GOMP_SPINCOUNT': '7'}, '7')])
def test_threads_wait_briefly_unless_the_user_says_otherwise(told, found):
    others = {name: v for name, v in os.environ.items() if name != 'GOMP_SPINCOUNT'}
    code = 'import cli, os; print(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules)'
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; {code}'],
        cwd=REPOSITORY / 'tools',
        env=others | told,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [found, 'False']


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='it is about glibc')
@pytest.mark.parametrize('told, kept', [({}, True), ({'MALLOC_ARENA_MAX': '4'}, False)])
def test_memory_is_kept_unless_the_user_says_otherwise(told, kept):
    """Large blocks are taken, used and freed: no page is asked for twice."""
    code = """
import cli, ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def use():
    block = libc.malloc(40_000_000)
    ctypes.memset(block, 1, 40_000_000)
    libc.free(block)

cli.keep_memory()
use()
before = resource.getrusage(0).ru_minflt
use()
print(resource.getrusage(0).ru_minflt - before)
"""
    others = {name: v for name, v in os.environ.items() if not name.startswith(('MALLOC', 'GLIBC'))}
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=REPOSITORY / 'tools',
        env=others | told,
        capture_output=True,
        text=True,
    )
    # A block of 40 MB has 9,766 pages.
    assert (int(done.stdout) < 1000) == kept, done.stdout + done.stderr
