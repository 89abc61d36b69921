"""Write what README.md and docs/ have of the results of experiments, between their marks.

python experiments/pages.py

An experiment that tries a claim has ``verdicts(records)``: dicts with ``claim``, ``source``,
``verdict``, which is confirmed, refuted or undecided, and ``numbers``.
"""

from collections import Counter
from pathlib import Path

import run
from comparisons import TOO_FEW

README = run.ROOT / 'README.md'
VERDICTS = run.ROOT / 'docs/understand/verdicts.md'
METHODS = run.ROOT / 'docs/methods'
# The rows of experiments/cifar10_table that a page of a method has beside the frame.
ROWS = {
    'mec': ['MEC', 'SimSiam', 'BYOL'],
    'er': ['SimCLR+ER', 'SimCLR', 'BYOL+ER', 'BYOL', 'DINO+ER', 'DINO'],
    'minent': ['MinEnt', 'SimCLR'],
    'simdino': ['SimDINO', 'DINO'],
}


def records_of(name: str) -> list[dict]:
    """The results of an experiment."""
    folder = run.ROOT / 'experiments' / name
    return run.read_records(run.Places(folder, folder, None))


def verdicts() -> list[dict]:
    """The verdict on each claim that two seeds tried, with the ``name`` of its experiment."""
    experiments = {name: run.load(name) for name in run.names()}
    return [
        dict(found, name=name)
        for name, experiment in experiments.items()
        if hasattr(experiment, 'verdicts')
        for found in experiment.verdicts(records_of(name))
        if TOO_FEW not in found['numbers']
    ]


def verdicts_table(found: list[dict]) -> str:
    """A line for each claim, in the order of the experiments' names."""
    lines = ['| claim | source | verdict | numbers | experiment |', '|---|---|---|---|---|']
    for told in found:
        link = f'[{told["name"]}](../../experiments/{told["name"]}/README.md)'
        cells = [told[key] for key in ('claim', 'source', 'verdict', 'numbers')]
        lines.append(f'| {" | ".join([*cells, link])} |')
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
        run.write_whole(path, text)
