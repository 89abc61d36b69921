"""The pages about methods and what they share: all are there, and what they name exists."""

import ast
import inspect
import json
import re

import method_numbers
import model_index
import objectives_table
import pytest
import yaml
from mmpretrain.registry import HOOKS, MODELS, TRANSFORMS
from repository import REPOSITORY

import mmentropy.engine.hooks  # noqa: F401  registers hooks
import mmentropy.models
from mmentropy.engine import collapse_alarms

OBJECTIVES = objectives_table.objectives()
METHODS = REPOSITORY / 'docs/methods'
PAGES = [*METHODS.glob('*.md'), *(REPOSITORY / 'docs/understand').glob('*.md')]
EACH_PAGE = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
EACH_OBJECTIVE = pytest.mark.parametrize('name', OBJECTIVES)
FENCED = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
CLASS = re.compile(r'[A-Z]\w+')
REGISTRIES = (MODELS, HOOKS, TRANSFORMS)
CONSTANTS = {'None', 'True', 'False'}


def named(text):
    """What stands between backticks, outside of blocks of code."""
    return re.findall(r'`([^`\n]+)`', FENCED.sub('', text))


def classes(text):
    """The names of classes among it."""
    return {name for name in named(text) if CLASS.fullmatch(name)} - CONSTANTS


def exists(path):
    """Whether a file of the repository, or a test in one, exists; a star stands for any name."""
    path, _, test = path.partition('::')
    found = list(REPOSITORY.glob(path))
    return bool(found) and all(f'def {test}(' in file.read_text() for file in found if test)


def rows(text):
    """The rows of a page's table of hyper-parameters, as lists of cells."""
    table = text.partition('| argument | default |')[2].partition('\n\n')[0]
    return [re.split(r' \| ', row.strip('| ')) for row in table.splitlines()[2:]]


@EACH_OBJECTIVE
def test_every_objective_has_a_page(name):
    text = (METHODS / f'{name}.md').read_text()
    assert OBJECTIVES[name]['loss'] in classes(text)
    assert text.count('```bibtex\n@') == 1 and text.count('{') == text.count('}')
    index = (METHODS / 'index.md').read_text()
    assert f'({name}.md)' in index and f'\n{name}\n' in index


def test_every_loss_is_named_and_every_page_is_an_objective():
    pages = {page.stem: page.read_text() for page in METHODS.glob('*.md')}
    assert pages.keys() - {'index'} == OBJECTIVES.keys()
    losses = {name for name in vars(mmentropy.models) if name.endswith('Loss')}
    assert losses <= set().union(*map(classes, pages.values()))


@EACH_OBJECTIVE
def test_arguments_and_their_defaults(name):
    """Each argument of the loss is in the table, and each row has the default of the code."""
    text, loss = (METHODS / f'{name}.md').read_text(), OBJECTIVES[name]['loss']
    found = {}
    for argument, default, does, *_ in rows(text):
        owners = classes(does) or {cls for cls in classes(text) if cls.endswith('Loss')}
        signatures = [inspect.signature(MODELS.get(owner)).parameters for owner in owners]
        expected = [s[argument.strip('`')].default for s in signatures if argument.strip('`') in s]
        assert ast.literal_eval(default.strip('`')) in expected, argument
        found[argument.strip('`')] = default
    arguments = inspect.signature(MODELS.get(loss)).parameters.keys()
    assert arguments - objectives_table.SHAPES <= found.keys()


@EACH_PAGE
def test_what_is_named_exists(page):
    text = page.read_text()
    for name in classes(text):
        assert any(name in r for r in REGISTRIES) or hasattr(mmentropy.models, name), name
    paths = [name for name in named(text) if re.fullmatch(r'[\w./*-]+/[\w./*-]+(::\w+)?', name)]
    for name in paths:
        assert exists(name), name


@EACH_PAGE
def test_formulas_can_be_read_on_github(page):
    """Markdown takes the backslash before a sign away, and GitHub refuses operatorname."""
    text = re.sub(r'`[^`\n]+`', '', FENCED.sub('', page.read_text()))
    formulas = re.findall(r'\$\$.*?\$\$|\$[^$\n]+\$', text, re.DOTALL)
    assert formulas or page.stem in ('index', 'collapse', 'verdicts')
    assert not re.findall(r'\\operatorname|\\[^\w\s]', ''.join(formulas))


def test_alarms_are_those_of_the_code():
    """Each kind has a row, with the bound that raises it."""
    text = (REPOSITORY / 'docs/understand/collapse.md').read_text()
    table = text.partition('| alarm |')[2].partition('\n\n')[0].splitlines()[2:]
    alarms = dict(row.strip('| ').split(' | ')[:2] for row in table)
    bounds = dict(
        collapse='COLLAPSED_STD',
        rank='RANK_SHARE',
        entropy='ENTROPY_SHARE',
        length='LENGTH_SHARE',
        prototypes='DEAD_PROTOTYPES',
        heads='DEAD_TARGETS',
    )
    assert len(alarms) == len(collapse_alarms.MESSAGES)
    for kind, message in collapse_alarms.MESSAGES.items():
        title = next(title for title in alarms if title in message)
        if kind in bounds:
            assert f' {getattr(collapse_alarms, bounds[kind]):g}' in alarms[title], kind
    assert f'in {collapse_alarms.PATIENCE} measurements' in ' '.join(text.split())


def test_ours_are_means_over_seeds_beside_what_has_no_method():
    runs = [
        dict(config='mec/r18_1xb2_3e_digits', knn=97.0, linear=98.0, commit='a1'),
        dict(config='mec/r18_1xb2_3e_digits', knn=98.0, linear=98.0, commit='b2'),
        dict(config='er/r18_1xb2_3e_digits', knn=1.0, commit='c3'),
        dict(data='digits', row='raw pixels', knn=96.84),
        dict(data='cifar10', row='raw pixels', knn=2.0),
    ]
    assert method_numbers.ours(['mec/*'], runs, dict(digits='Digits')).splitlines()[2:] == [
        '| [r18_1xb2_3e_digits](../../configs/mec/r18_1xb2_3e_digits.py) | 97.5 ± 0.7 | 98.0 ± 0.0 '
        '| 2 (`a1`, `b2`) |',
        '| raw pixels, Digits | 96.8 |  | 1 |',
    ]
    assert method_numbers.ours(['mmcr/*'], runs, {}) == method_numbers.NONE


def test_published_keep_the_order_of_the_patterns_and_their_digits():
    numbers = {
        'er/a': dict(linear=70.86, source='table 2'),
        'er/b': dict(source='the settings alone'),
        'baselines/a': dict(linear=69.0, knn5=50.03, source='table 1'),
    }
    assert method_numbers.published(['base*', 'er/*', 'er/a'], numbers).splitlines() == [
        '| top-1, % | kNN (k = 5, Euclidean) | linear probe | source |',
        '| --- | --- | --- | --- |',
        '| [a](../../configs/baselines/a.py) | 50.03 | 69 | table 1 |',
        '| [a](../../configs/er/a.py) |  | 70.86 | table 2 |',
    ]
    assert method_numbers.published(['er/b'], numbers) == method_numbers.NONE


def test_numbers_are_as_the_tool_writes_them():
    published = yaml.safe_load((REPOSITORY / 'configs/published.yml').read_text())
    pages = method_numbers.pages(published, model_index.our_records(), model_index.DATA)
    assert {page.stem for page in pages} == {page.stem for page in METHODS.glob('*.md')}
    for page, text in pages.items():
        assert page.read_text() == text, 'run python tools/model_index.py'
        for kind in ('ours', 'published'):
            assert text.count(f'<!-- {kind} ') == text.count(f'<!-- {kind}: end -->')
            assert page.stem == 'index' or f'<!-- {kind} ' in text


def test_means_of_the_table_are_those_of_its_runs():
    """Recomputed from the records of one recipe, and told in its header."""
    name = 'er/er_byol_fast_r18s_1xb256_10e_cifar10'
    records = json.loads((REPOSITORY / 'experiments/cifar10_table/results.json').read_text())
    # A run that was made again counts no longer, as the one of MEC.
    assert any('replaced' in r and r['method'] == 'MEC' for r in records)
    assert model_index.narrow_runs()['mec/fast_r18s_1xb256_10e_cifar10']['seeds'] == 3
    runs = [r for r in records if (r['method'], r['stage']) == ('BYOL+ER', 'table')]
    assert {r['config'] for r in runs} == {f'configs/{name}.py'}
    found = model_index.narrow_runs()[name]
    assert found['seeds'] == len(runs) and {r['rate'] for r in runs} == {found['factor']}
    for score in ('knn', 'linear'):
        total = sum(r['scores']['checkpoint'][score] for r in runs)
        assert found[score] == pytest.approx(total / len(runs), abs=0.051)
        header = (REPOSITORY / f'configs/{name}.py').read_text()
        assert f'{found[score]:g} ' in header


def test_runs_at_the_rate_of_an_earlier_search_are_in_no_mean(tmp_path, monkeypatch):
    def run(rate, knn):
        scores = dict(checkpoint=dict(knn=knn, linear=knn))
        told = dict(method='A', stage='table', rate=rate)
        return dict(config='configs/a.py', scores=scores, **told)

    path = tmp_path / model_index.TABLE / 'results.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([run('3', 10.0), run('9', 20.0), run('9', 30.0)]))
    monkeypatch.setattr(model_index, 'ROOT', tmp_path)
    found = model_index.narrow_runs.__wrapped__()
    assert found == {'a': dict(method='A', knn=25.0, linear=25.0, factor='9', seeds=2)}
