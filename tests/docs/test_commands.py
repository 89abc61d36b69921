"""Commands of the pages: tools take their arguments, recipes exist, and the quick ones run."""

import re
import runpy
import shlex
import sys

import numpy as np
import pytest
from cfg_options import parsed
from forked import python
from mmengine.config import Config
from PIL import Image
from repository import REPOSITORY

import mmentropy_command

PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').rglob('*.md'))]
TOOLS = REPOSITORY / 'tools'
# A page explains how to write it, and a test follows that page.
WRITTEN_BY_THE_READER = 'configs/spread/spread_r18s_1xb64_50e_digits.py'
RECIPE = 'configs/mec/r18s_1xb64_50e_digits.py'


def blocks(language):
    """The pages' code of a language."""
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for code in re.findall(rf'^```{language}\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
            yield str(page.relative_to(REPOSITORY)), code


def documented():
    """All commands, without what they set in the environment."""
    found = []
    for page, code in blocks('bash'):
        for line in code.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
                words.pop(0)
            if words:
                found.append((page, words))
    return found


COMMANDS = documented()
NAMES = [f'{page}: {" ".join(words)}' for page, words in COMMANDS]


def tool_and_arguments(words):
    """The tool that a command runs and its arguments, or None if it runs none."""
    program, first, *rest = *words, ''
    rest = [word for word in rest if word]
    if program == 'mmentropy' and first in mmentropy_command.TOOLS:
        if '--processes' in rest:
            assert first in mmentropy_command.SEVERAL
            place = rest.index('--processes')
            del rest[place : place + 2]
        return mmentropy_command.TOOLS[first][0], rest
    if program == 'python' and first.startswith('tools/'):
        return first.removeprefix('tools/'), rest
    if first == 'tools/dist_train.sh':
        config, processes, *more = rest
        return 'train.py', [config, *more] if int(processes) else []
    if first == 'tools/slurm_train.sh':
        return 'train.py', rest[2:]
    return None


@pytest.mark.parametrize('words', [words for _, words in COMMANDS], ids=NAMES)
def test_arguments_are_taken(words, monkeypatch):
    for word in words:
        if word.startswith(('configs/', 'tools/', 'benchmarks/')) and word != WRITTEN_BY_THE_READER:
            assert (REPOSITORY / word).exists(), word
    extras = re.findall(r'\[([\w,]+)\]', ' '.join(words)) if words[0] == 'pip' else []
    for extra in ','.join(extras).split(','):
        assert not extra or (REPOSITORY / 'requirements' / f'{extra}.txt').exists()
    if found := tool_and_arguments(words):
        tool, arguments = found
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        options = runpy.run_path(str(TOOLS / tool))
        if 'parse_args' in options:
            options['parse_args']()


def test_recipes_are_found_by_their_names():
    named = [words[2] for _, words in COMMANDS if words[:2] == ['mmentropy', 'train']]
    assert named
    # Names with an ending are files of the reader's.
    for name in (name for name in named if not name.endswith('.py')):
        assert (REPOSITORY / f'configs/{name}.py').exists()


@pytest.mark.parametrize('code', [code for _, code in blocks('python')])
def test_python_can_be_read(code):
    compile(code, 'page', 'exec')


def test_settings_of_the_command_line_are_those_of_the_recipe():
    """What follows ``--cfg-options`` changes something that the config has."""
    for _, words in COMMANDS:
        config = next((word for word in words if word.startswith('configs/')), RECIPE)
        if '--cfg-options' not in words or config == WRITTEN_BY_THE_READER:
            continue
        cfg = Config.fromfile(REPOSITORY / config)
        for option in words[words.index('--cfg-options') + 1 :]:
            key, _, value = option.partition('=')
            assert parsed(value) is not None
            owner, _, _ = key.rpartition('.')
            place = cfg
            for part in owner.split('.'):
                assert part in place, key
                place = place[part]


QUICK = [
    'doctor.py',
    'folder_statistics.py PHOTOS',
    f'train.py {RECIPE} --check',
    'embed.py zoo://mec_fast_r18s_1xb64_50e_digits PHOTOS --out features.npz --thumbnails 32',
    'neighbours.py features.npz --of 1.png --duplicates 0.98 --page map.html',
]


@pytest.mark.slow
def test_quick_commands_run(tmp_path):
    """One after the other, in a folder with nothing but photos."""
    draws = np.random.default_rng(0)
    (tmp_path / 'PHOTOS').mkdir()
    for name in range(12):
        pixels = draws.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'PHOTOS' / f'{name}.png')
    for command in QUICK:
        tool, *arguments = command.split()
        arguments = [str(REPOSITORY / a) if a.startswith('configs/') else a for a in arguments]
        done = python(TOOLS / tool, *arguments, cwd=tmp_path)
        assert done.returncode == 0, f'{command}: {done.stdout[-500:]}{done.stderr[-500:]}'
    assert (tmp_path / 'map.html').stat().st_size > 1000
