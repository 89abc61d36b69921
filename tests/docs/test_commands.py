"""Commands of the pages: tools take their arguments, and recipes exist."""

import re
import runpy
import sys

import pytest
from cfg_options import parsed
from documented import commands
from mmengine.config import Config
from repository import REPOSITORY

import mmentropy_command

TOOLS = REPOSITORY / 'tools'
# A page explains how to write it, and a test follows that page.
WRITTEN_BY_THE_READER = 'configs/spread/spread_r18s_1xb64_50e_digits.py'
RECIPE = 'configs/mec/r18s_1xb64_50e_digits.py'


COMMANDS = commands()
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
