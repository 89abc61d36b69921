"""Write what README.md and docs/ have of the results of experiments, between their marks.

python experiments/pages.py

An experiment that tries a claim has ``verdicts(records)``: dicts with ``claim``, ``source``,
``verdict``, which is confirmed, refuted or undecided, and ``numbers``.
"""

from collections import Counter
from pathlib import Path

import run
from comparisons import TOO_FEW
from records import ROOT, Places, all_records, shown, write_whole

README = ROOT / 'README.md'
VERDICTS = ROOT / 'docs/understand/verdicts.md'
METHODS = ROOT / 'docs/methods'
# The rows of experiments/cifar10_table that a page of a method has beside the frame.
ROWS = {
    'mec': ['MEC', 'SimSiam', 'BYOL'],
    'er': ['SimCLR+ER', 'SimCLR', 'BYOL+ER', 'BYOL', 'DINO+ER', 'DINO'],
    'minent': ['MinEnt', 'SimCLR'],
    'simdino': ['SimDINO', 'DINO'],
    'lejepa': ['LeJEPA', 'VICReg', 'SimCLR'],
    'vicreg': ['VICReg', 'FroSSL', 'Barlow Twins', 'SimCLR'],
    'emp_ssl': ['EMP-SSL', 'VICReg', 'SimCLR'],
    'ivne': ['I-VNE+', 'FroSSL', 'VICReg', 'SimCLR'],
    'mmcr': ['MMCR', 'I-VNE+', 'FroSSL', 'SimCLR'],
    'corinfomax': ['CorInfoMax', 'VICReg', 'Barlow Twins', 'SimCLR'],
    'intl': ['INTL', 'VICReg', 'Barlow Twins', 'SimCLR'],
    'matrix_ssl': ['Matrix-SSL', 'MEC', 'BYOL'],
    'frossl': ['FroSSL', 'VICReg', 'Barlow Twins', 'SimCLR'],
}


def records_of(name: str) -> list[dict]:
    """The results of an experiment that pages are made of."""
    folder = ROOT / 'experiments' / name
    return shown(all_records(Places(folder, folder, None)))


def verdicts() -> list[dict]:
    """The verdict on each claim that was tried, with the ``names`` of its experiments.

    A comparison of too few seeds is no trial.
    """
    experiments = {name: run.load(name) for name in run.names()}
    found: dict[str, dict] = {}
    for name, experiment in experiments.items():
        tried = getattr(experiment, 'verdicts', lambda records: [])(records_of(name))
        for told in (dict(told, names=[name]) for told in tried):
            if TOO_FEW not in told['numbers']:
                claim = told['claim']
                found[claim] = both(found[claim], told) if claim in found else told
    return [*found.values()]


def both(first: dict, second: dict) -> dict:
    """The verdict on a claim that two experiments tried: undecided where theirs differ."""
    same = first['verdict'] == second['verdict']
    return dict(
        first,
        verdict=first['verdict'] if same else 'undecided',
        numbers=f'{first["numbers"]}; {second["numbers"]}',
        names=first['names'] + second['names'],
    )


def verdicts_table(found: list[dict]) -> str:
    """A line for each claim, in the order of the experiments' names."""
    lines = ['| claim | source | verdict | numbers | experiment |', '|---|---|---|---|---|']
    for told in found:
        links = [f'[{name}](../../experiments/{name}/README.md)' for name in told['names']]
        cells = [told[key] for key in ('claim', 'source', 'verdict', 'numbers')]
        lines.append(f'| {" | ".join([*cells, ", ".join(links)])} |')
    return '\n'.join(lines)


def verdicts_sentence(found: list[dict]) -> str:
    """How many claims have which verdict."""
    count = Counter(told['verdict'] for told in found)
    return (
        f'Of {len(found)} claims of the papers that we tried, {count["confirmed"]} were confirmed, '
        f'{count["refuted"]} refuted and {count["undecided"]} undecided at this scale\n'
        '([verdicts](docs/understand/verdicts.md)).'
    )


def texts() -> dict[Path, str]:
    """Each page with its generated parts made anew."""
    table, records = run.load('cifar10_table'), records_of('cifar10_table')
    found = verdicts()
    parts = {
        README: dict(cifar10=table.results(records), verdicts=verdicts_sentence(found)),
        VERDICTS: dict(verdicts=verdicts_table(found)),
    }
    for name, rows in ROWS.items():
        parts[METHODS / f'{name}.md'] = dict(cifar10=table.results(records, rows))
    pages = {}
    for path, marked in parts.items():
        text = path.read_text()
        for mark, new in marked.items():
            text = run.between_marks(text, mark, new)
        pages[path] = text
    return pages


if __name__ == '__main__':
    for path, text in texts().items():
        write_whole(path, text)
