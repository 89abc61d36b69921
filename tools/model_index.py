"""Write metafiles, model-index.yml, tables of READMEs and docs, and headers of recipes.

They are made of the configs, of configs/published.yml (the papers' numbers),
configs/facts.yml (their settings), docs/results.json, experiments/digits_family and
experiments/cifar10_table (our numbers).
With --check nothing is written, and the exit status is 1 if anything is out of date.
"""

import argparse
import ast
import json
import re
import sys
import textwrap
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from cli import Parser


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true')
    return parser.parse_args()


if __name__ == '__main__':
    # This answers -h and wrong arguments before the imports below, which take seconds.
    parse_args()

import method_numbers
import objectives_table
import settings_table
import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = dict(
    mec=(
        'MEC',
        'Self-Supervised Learning via Maximum Entropy Coding',
        'https://arxiv.org/abs/2210.11464',
    ),
    er=(
        'ER',
        'The Role of Entropy and Reconstruction in Multi-View Self-Supervised Learning',
        'https://arxiv.org/abs/2307.10907',
    ),
    minent=(
        'MinEnt',
        'Minimum Entropy for Self-Supervised Representation Learning',
        'https://doi.org/10.1016/j.patcog.2023.109364',
    ),
    family=('Entropy objectives', None, None),
    baselines=('Baselines', None, None),
)
DATA = dict(
    digits='Digits',
    fashion_mnist='Fashion-MNIST',
    cifar10='CIFAR-10',
    cifar100='CIFAR-100',
    stl10='STL-10',
    tiny_imagenet='Tiny-ImageNet',
    imagenet100='ImageNet-100',
    in1k='ImageNet-1k',
    places365='Places365',
    folder='your images',
    bands='Images of 8 bands in a folder',
)
METRICS = dict(linear='linear', knn='kNN (k = 20)', knn5='kNN (k = 5, Euclidean)')
# Its runs have recipes of CIFAR-10 with half of their channels.
TABLE = 'experiments/cifar10_table'
BEGIN, END = '<!-- recipes: begin, generated -->', '<!-- recipes: end -->'
# From this batch on a header says how to train on fewer cards.
LARGE_BATCH = 2048
# The part of a recipe's docstring that this tool writes.
HEADER = re.compile(r'^Paper:.*?^Ours:.*?^Run:.*?(?=^""")', re.MULTILINE | re.DOTALL)


def recipes(folder: str) -> list[str]:
    """Names of a folder's configs, as ``mec/r50_8xb64_100e_in1k``."""
    configs = ROOT / 'configs'
    return sorted(
        str(path.relative_to(configs).with_suffix('')) for path in (configs / folder).rglob('*.py')
    )


def source(name: str) -> Path:
    return ROOT / 'configs' / f'{name}.py'


def part(pattern: str, name: str) -> str:
    """The part of a recipe's name that the group of a pattern matches."""
    found = re.search(pattern, name)
    if not found:
        raise SystemExit(f'error: configs/{name}.py: the name does not match {pattern}')
    return found[1]


def hyper_parameters(name: str) -> dict[str, Any]:
    cfg = Config.fromfile(source(name))
    optimizer = cfg.optim_wrapper.optimizer
    return {
        'Training Data': DATA[part(r'\d+e_(\w+)$', name)],
        'Epochs': cfg.train_cfg.max_epochs,
        'Batch Size': cfg.auto_scale_lr.base_batch_size,
        'Optimizer': optimizer.type,
        'Learning Rate': round(optimizer.lr, 6),
        'Weight Decay': optimizer.get('weight_decay', 0.0),
    }


def our_records() -> list[dict[str, Any]]:
    """Our runs of recipes as they stand: a config, a seed, its scores, commit and time each."""
    records = json.loads((ROOT / 'docs/results.json').read_text())
    for run in json.loads((ROOT / 'experiments/digits_family/results.json').read_text()):
        if not run['changes'] and counts(run):
            name = run['config'].removeprefix('configs/').removesuffix('.py')
            told = dict(config=name, seconds=round(60 * run['minutes']))
            records.append(run | told | run['scores']['checkpoint'])
    return records


def counts(run: dict[str, Any]) -> bool:
    """Whether a run of an experiment has accuracies, and no other one has replaced it."""
    return 'scores' in run and 'replaced' not in run


@cache
def narrow_runs() -> dict[str, dict[str, Any]]:
    """The means of experiments/cifar10_table by recipe, which are of narrower networks.

    ``factor`` is what the search of learning rates multiplies that of the recipe by, ``method`` the
    name in the table.
    """
    by_recipe = defaultdict(list)
    for run in json.loads((ROOT / TABLE / 'results.json').read_text()):
        if run['stage'] == 'table' and counts(run):
            by_recipe[run['config'].removeprefix('configs/').removesuffix('.py')].append(run)
    found = {}
    for name, runs in by_recipe.items():
        # Runs of an earlier search may have been at another rate.
        runs = [run for run in runs if run['rate'] == runs[-1]['rate']]
        scores = [run['scores']['checkpoint'] for run in runs]
        means = {key: round(mean(s[key] for s in scores), 1) for key in scores[0]}
        told = dict(method=runs[0]['method'], factor=runs[0]['rate'], seeds=len(runs))
        found[name] = means | told
    return found


def measured(name: str, records: list[dict]) -> dict[str, Any]:
    """Our own numbers, the mean over seeds, or an empty dict."""
    ours = [r for r in records if r.get('config') == name]
    if not ours:
        return {}
    scores: dict[str, Any] = {
        key: round(mean(r[key] for r in ours), 2) for key in METRICS if all(key in r for r in ours)
    }
    scores['seeds'] = [r['seed'] for r in ours]
    scores['commit'] = ours[-1]['commit']
    times = {'seconds': 'seconds', 'cpu_minutes': 'CPU minutes'}
    scores['time'] = next(
        (f'{r[key]} {unit}' for r in ours for key, unit in times.items() if key in r), None
    )
    scores['options'] = ours[-1].get('options', '')
    return scores


def description(name: str) -> str:
    """The docstring at the head of a config, up to the lines that are written here."""
    text = ast.get_docstring(ast.parse(source(name).read_text())) or ''
    return ' '.join(re.split(r'^Paper:', text, flags=re.MULTILINE)[0].split())


def with_header(name: str, published: dict, records: list[dict]) -> str:
    """The text of a recipe with the paper's number, ours and the command in its docstring."""
    paper = 'not reported.'
    if name in published:
        found = published[name]
        hardware = f', on {found["hardware"]}' if 'hardware' in found else ''
        numbers = scores_cell(found) or 'no number recorded here, its settings are stated'
        paper = f'{numbers} ({found["source"]}){hardware}.'
    ours, command = 'not run.', f'configs/{name}.py'
    scores = measured(name, records)
    if scores:
        numbers = ', '.join(str(seed) for seed in scores['seeds'])
        seeds = f'seed {numbers}' if len(scores['seeds']) == 1 else f'mean of seeds {numbers}'
        details = [seeds, f'commit {scores["commit"]}', scores['time']]
        ours = f'{scores_cell(scores)}; {", ".join(filter(None, details))}.'
        command = f'{command} {scores["options"]}'.strip()
    if narrow := narrow_runs().get(name):
        means = f'mean of {narrow["seeds"]} seeds' if narrow['seeds'] > 1 else 'one seed'
        ours = (
            f'{ours.removesuffix(".")}; with half of the channels and {narrow["factor"]} times the '
            f'learning rate {scores_cell(narrow)}, {means} ({TABLE}).'
        )
    gpus = part(r'_(\d+)xb\d+_', name)
    if gpus == '1':
        command = f'python tools/train.py {command}'
    else:
        command = f'bash tools/dist_train.sh {command} {gpus}'
    lines = [f'Paper: {paper}', f'Ours: {ours}', f'Run: {command}', *fewer_cards(name)]
    header = ''.join(
        textwrap.fill(line, 98, subsequent_indent='    ', break_on_hyphens=False) + '\n'
        for line in lines
    )
    text = source(name).read_text()
    if not HEADER.search(text):
        raise SystemExit(f'error: the docstring of configs/{name}.py lacks Paper:, Ours: and Run:')
    return HEADER.sub(lambda _: header, text, count=1)


def fewer_cards(name: str) -> list[str]:
    """How a recipe of a large batch is run on one, four and eight cards; [] for others."""
    rows = int(part(r'_\d+xb(\d+)_', name))
    batch = rows * int(part(r'_(\d+)xb\d+_', name))
    if batch < LARGE_BATCH:
        return []
    shares = {cards: batch // (rows * cards) for cards in (1, 4, 8) if batch > rows * cards}
    note = ''
    # ER takes the entropy of a card's own rows, of which each iteration has as many.
    if name.startswith('er/'):
        option = 'optim_wrapper.accumulative_counts'
        ways = [f'{cards} with {option}={n}' for cards, n in shares.items()]
        note = '; batch norm sees the images of an iteration'
    else:
        ways = [
            f'{cards} with --accumulate {n} and train_dataloader.batch_size={n * rows}'
            for cards, n in shares.items()
        ]
    return [f'Fewer cards: {", ".join(ways)}{note}.']


def model(name: str, collection: str, published: dict, records: list[dict]) -> dict[str, Any]:
    """One entry of a metafile; ``Results`` are ours, ``Paper Results`` not.

    ``Narrow Results`` are those of :func:`narrow_runs`.
    """
    folder, stem = name.split('/')[0], name.split('/')[-1]
    entry: dict[str, Any] = {
        # Unique among the models of other packages, too.
        'Name': stem if stem.startswith(f'{folder}_') else f'{folder}_{stem}',
        'In Collection': collection,
        'Config': f'configs/{name}.py',
        'Description': description(name),
        'Metadata': hyper_parameters(name),
        'Results': None,
    }
    weights = yaml.safe_load((ROOT / 'configs/zoo.yml').read_text()).get(entry['Name'])
    if weights:
        entry |= {'Weights': f'configs/{weights["file"]}', 'Weights SHA256': weights['sha256']}
    ours = measured(name, records)
    if ours:
        entry['Metadata']['Training Resources'] = '2 CPU cores'
        entry['Results'] = [
            dict(
                Task='Self-Supervised Image Classification',
                Dataset=entry['Metadata']['Training Data'],
                Metrics={
                    f'{title} top-1': ours[key] for key, title in METRICS.items() if key in ours
                },
                Seeds=len(ours['seeds']),
                Commit=ours['commit'],
            )
        ]
    if narrow := narrow_runs().get(name):
        entry['Narrow Results'] = narrow | dict(source=TABLE)
        del entry['Narrow Results']['method']
    if scores_cell(published.get(name, {})):
        entry['Paper Results'] = published[name]
    return entry


def scores_cell(scores: dict) -> str:
    return ', '.join(f'{scores[key]:g} {title}' for key, title in METRICS.items() if key in scores)


def table(models: list[dict], records: list[dict]) -> str:
    """Recipes by data set, the papers' numbers and ours in two columns."""
    by_data = defaultdict(list)
    for entry in models:
        by_data[entry['Metadata']['Training Data']].append(entry)
    lines = []
    for data, entries in by_data.items():
        lines += [
            '',
            f'**{data}**',
            '',
            '| config | | epochs | batch | optimiser, lr | paper | ours |',
            '|---|---|---|---|---|---|---|',
        ]
        for entry in entries:
            meta, path = entry['Metadata'], Path(entry['Config'])
            name = str(Path(*path.parts[1:]).with_suffix(''))
            paper = entry.get('Paper Results', {})
            origin = f' ({paper["source"]})' if paper else ''
            ours = measured(name, records)
            count = len(ours.get('seeds', []))
            seeds = f', {count} seeds' if count > 1 else ''
            link = Path(*path.parts[2:])
            lines.append(
                f'| [{link.stem}]({link}) | {entry["Description"]} '
                f'| {meta["Epochs"]} | {meta["Batch Size"]} '
                f'| {meta["Optimizer"]}, {meta["Learning Rate"]:g} '
                f'| {scores_cell(paper)}{origin} | {scores_cell(ours)}{seeds} '
                '|'
            )
    return '\n'.join(lines)


def generated() -> dict[Path, str]:
    """The content of every file that this tool keeps."""
    published = yaml.safe_load((ROOT / 'configs/published.yml').read_text())
    records = our_records()
    names = {name for folder in COLLECTIONS for name in recipes(folder)}
    unknown = {*published, *(r['config'] for r in records if 'config' in r)} - names
    if unknown:
        raise SystemExit(f'error: results of no config: {sorted(unknown)}')
    files = {source(name): with_header(name, published, records) for name in names}
    for folder, (collection, title, url) in COLLECTIONS.items():
        models = [model(name, collection, published, records) for name in recipes(folder)]
        head: dict[str, Any] = {'Name': collection, 'README': f'configs/{folder}/README.md'}
        if url:
            head['Paper'] = dict(Title=title, URL=url)
        files[ROOT / 'configs' / folder / 'metafile.yml'] = yaml.safe_dump(
            dict(Collections=[head], Models=models), sort_keys=False
        )
        readme = ROOT / 'configs' / folder / 'README.md'
        text = readme.read_text()
        if BEGIN not in text or END not in text:
            raise SystemExit(f'error: {readme} lacks the marks {BEGIN} and {END}')
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        files[readme] = f'{before}{BEGIN}\n{table(models, records)}\n\n{END}{after}'
    files[ROOT / 'model-index.yml'] = yaml.safe_dump(
        dict(Import=[f'configs/{folder}/metafile.yml' for folder in COLLECTIONS])
    )
    files[ROOT / 'docs/settings.md'] = settings_table.page(published)
    files[ROOT / 'docs/which_objective.md'] = objectives_table.page(
        published, records, narrow_runs()
    )
    return files | method_numbers.pages(published, records, DATA)


def main() -> None:
    check = parse_args().check
    stale = {
        path: text
        for path, text in generated().items()
        if not path.exists() or path.read_text() != text
    }
    names = ', '.join(str(path.relative_to(ROOT)) for path in stale)
    if check and stale:
        sys.exit(f'error: out of date: {names}; run python tools/model_index.py')
    for path, text in stale.items():
        path.write_text(text)
    print(f'wrote {names}' if stale else 'all up to date')


if __name__ == '__main__':
    main()
