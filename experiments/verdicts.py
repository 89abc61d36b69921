"""Write the page of verdicts from the results of all experiments.

python experiments/verdicts.py

An experiment that tries a claim has ``verdicts(records)``: dicts with ``claim``, ``source``,
``verdict``, which is confirmed, refuted or undecided, and ``numbers``.
"""

import run

PAGE = run.ROOT / 'docs/understand/verdicts.md'


def table() -> str:
    """A line for each claim that was tried, in the order of the experiments' names."""
    lines = ['| claim | source | verdict | numbers | experiment |', '|---|---|---|---|---|']
    for name in run.names():
        experiment, folder = run.load(name), run.ROOT / 'experiments' / name
        if not hasattr(experiment, 'verdicts'):
            continue
        records = run.read_records(run.Places(folder, folder, None))
        for found in experiment.verdicts(records):
            link = f'[{name}](../../experiments/{name}/README.md)'
            cells = [found[key] for key in ('claim', 'source', 'verdict', 'numbers')]
            lines.append(f'| {" | ".join([*cells, link])} |')
    return '\n'.join(lines)


def text() -> str:
    """The page with its table made anew."""
    return run.between_marks(PAGE.read_text(), 'verdicts', table())


if __name__ == '__main__':
    run.write_whole(PAGE, text())
