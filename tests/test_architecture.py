"""The rules of docs/architecture.md, read from the source."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest
from repository import REPOSITORY

PACKAGE = REPOSITORY / 'mmentropy'
MODULES = sorted(PACKAGE.rglob('*.py'))
# A room imports from itself and from rooms that come before it.
ROOMS = [
    'checks',
    'functional',
    'distributed',
    'weights',
    'compat',
    'datasets',
    'views',
    'models',
    'evaluation',
    'engine',
    'transfer',
    'report',
    'pretraining',
]
LOOSE = {
    *('__init__.py', 'distributed.py', 'detection.py', '__main__.py', 'utils.py'),
    'measuring.py',
}
HOSTS = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'torch', 'torchvision')
MOST_LINES = 60


def source(path):
    return path.read_text(encoding='utf-8')


def tree(path):
    return ast.parse(source(path))


def shown(path):
    return str(path.relative_to(REPOSITORY))


def room_of(module):
    """The room of a dotted name of ours, e.g. mmentropy.models.mec."""
    parts = module.split('.')
    return parts[1] if len(parts) > 1 else ''


def test_rooms_are_those_of_the_plan():
    folders = {p.parent.name for p in PACKAGE.glob('*/__init__.py')}
    assert folders | {'distributed'} == set(ROOMS)
    assert {p.name for p in PACKAGE.glob('*.py')} == LOOSE


def test_imports_go_down():
    wrong = []
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
        if own not in ROOMS:
            continue
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            names = [node.module]
            if node.module == 'mmentropy':
                names = [f'mmentropy.{alias.name}' for alias in node.names]
            for name in names:
                if name.split('.')[0] != 'mmentropy' or room_of(name) not in ROOMS:
                    continue
                if ROOMS.index(room_of(name)) > ROOMS.index(own):
                    wrong.append(f'{shown(path)} imports {name}')
    assert not wrong


def test_imports_are_absolute():
    found = [
        shown(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not found


def test_functions_are_short():
    long = [
        f'{shown(path)}: {node.name} has {node.end_lineno - node.lineno + 1} lines'
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno - node.lineno + 1 > MOST_LINES
    ]
    assert not long


def test_no_public_name_exists_twice():
    places = defaultdict(list)
    for path in MODULES:
        for node in tree(path).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != '_':
                places[node.name].append(shown(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_one_letter_means_one_module():
    """F is torch.nn.functional everywhere."""
    wrong = []
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    module = getattr(node, 'module', None)
                    name = f'{module}.{alias.name}' if module else alias.name
                    if (name == 'torch.nn.functional') != (alias.asname == 'F'):
                        wrong.append(f'{shown(path)}: {name} as {alias.asname}')
    assert not wrong


def host_names(module):
    """What a module calls the hosts and their parts."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.split('.')[0] for a in node.names if is_host(a.name)}
        elif isinstance(node, ast.ImportFrom) and is_host(node.module or ''):
            names |= {a.asname or a.name for a in node.names}
    return names


def is_host(module):
    return module.split('.')[0] in HOSTS


@pytest.mark.slow
def test_hosts_are_changed_in_one_room_only():
    """No attribute or entry of an imported host is set outside of compat."""
    wrong = []
    for path in MODULES:
        if PACKAGE / 'compat' in path.parents:
            continue
        module = tree(path)
        names = host_names(module)
        for node in ast.walk(module):
            targets = getattr(node, 'targets', [getattr(node, 'target', None)])
            for target in targets if isinstance(node, (ast.Assign, ast.AugAssign)) else []:
                owner = target
                while isinstance(owner, (ast.Attribute, ast.Subscript)):
                    owner = owner.value
                if owner is not target and isinstance(owner, ast.Name) and owner.id in names:
                    wrong.append(f'{shown(path)}:{node.lineno}')
    assert not wrong


FRAGMENT = re.compile(r'(Of|Those|Whose|To)\b')


def comments(path):
    """Comments that stand on lines of their own, consecutive ones as one."""
    found, last = [], -2
    for token in tokenize.generate_tokens(io.StringIO(source(path)).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith('#'):
            text = token.string.lstrip('# ')
            if token.start[0] == last + 1 and found:
                found[-1] = (found[-1][0], f'{found[-1][1]} {text}')
            else:
                found.append((token.start[0], text))
            last = token.start[0]
    return found


@pytest.mark.parametrize('folder', ['mmentropy', 'tools', 'benchmarks'])
def test_comments_are_no_fragments(folder):
    found = [
        f'{shown(path)}:{line}: {text}'
        for path in sorted((REPOSITORY / folder).rglob('*.py'))
        for line, text in comments(path)
        if FRAGMENT.match(text) and not re.search(r', \w+ ', text)
    ]
    assert not found


def docstring_heads(path):
    """First lines of docstrings, and of the descriptions of arguments in them."""
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            for i, line in enumerate((ast.get_docstring(node) or '').splitlines()):
                argument = re.fullmatch(r'\s+\w+: (.*)', line)
                if i == 0 or argument:
                    yield argument[1] if argument else line


@pytest.mark.parametrize('folder', ['mmentropy', 'tools', 'benchmarks'])
def test_docstrings_are_no_fragments(folder):
    found = [
        f'{shown(path)}: {text}'
        for path in sorted((REPOSITORY / folder).rglob('*.py'))
        for text in docstring_heads(path)
        if re.match(r'(Of|Those|Whose|By|As)\b', text)
    ]
    assert not found


def test_the_version_stands_in_one_place():
    pattern = re.compile(r'^\s*(__version__|version)\s*=\s*[\'"]\d', re.M)
    files = [*MODULES, REPOSITORY / 'pyproject.toml', REPOSITORY / 'setup.py']
    assert [shown(p) for p in map(Path, files) if pattern.search(source(p))] == [
        'mmentropy/__init__.py'
    ]


def test_no_test_module_imports_another():
    found = [
        shown(path)
        for path in (REPOSITORY / 'tests').rglob('*.py')
        if re.search(r'^(from|import) test_', source(path), re.M)
    ]
    assert not found
