"""The numbers on the pages of docs/methods, which tools/model_index.py writes between their marks.

A page asks for them by lines such as

    <!-- ours mec/*_digits mec/*_fashion_mnist: begin, generated -->
    <!-- ours: end -->

``ours`` are our runs of the recipes that fit one of the patterns, beside raw pixels and random
backbones of the same data; ``published`` is what papers and authors report of them.
"""

import re
from fnmatch import fnmatch
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / 'docs/methods'
BLOCK = re.compile(
    r'<!-- (?P<kind>ours|published) (?P<patterns>[^:]+): begin, generated -->\n'
    r'.*?<!-- (?P=kind): end -->',
    re.DOTALL,
)
METRICS = dict(knn='kNN (k = 20)', knn5='kNN (k = 5, Euclidean)', linear='linear probe')
NONE = 'No number is recorded for these recipes.'


def link(name: str) -> str:
    """A link to a recipe, as it stands on a page of docs/methods."""
    return f'[{Path(name).name}](../../configs/{name}.py)'


def fitting(names: list[str], patterns: list[str]) -> list[str]:
    """The names that fit, in the order of the patterns, each once."""
    return list(dict.fromkeys(n for p in patterns for n in names if fnmatch(n, p)))


def spread(runs: list[dict[str, Any]], metric: str) -> str:
    """Mean and standard deviation over seeds."""
    values = [run[metric] for run in runs if metric in run]
    if not values:
        return ''
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def table(first: str, rows: list[list[str]], last: str, metrics: list[str]) -> str:
    """A table in which each row begins with a name and ends with its origin."""
    titles = [first, *(METRICS[m] for m in metrics), last]
    lines = [titles, ['---'] * len(titles), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def ours(patterns: list[str], records: list[dict[str, Any]], data: dict[str, str]) -> str:
    """Our runs, those of no method last."""
    names = fitting(sorted({r['config'] for r in records if 'config' in r}), patterns)
    groups = {link(name): [r for r in records if r.get('config') == name] for name in names}
    for r in records:
        if 'row' in r and any(name.endswith(f'e_{r["data"]}') for name in names):
            groups.setdefault(f'{r["row"]}, {data[r["data"]]}', []).append(r)
    if not names:
        return NONE
    metrics = [m for m in METRICS if any(m in r for runs in groups.values() for r in runs)]
    rows = []
    for name, runs in groups.items():
        commits = ', '.join(dict.fromkeys(f'`{r["commit"]}`' for r in runs if 'commit' in r))
        origin = f'{len(runs)}' + (f' ({commits})' if commits else '')
        rows.append([name, *(spread(runs, m) for m in metrics), origin])
    return table('top-1, %', rows, 'seeds (commit)', metrics)


def published(patterns: list[str], numbers: dict[str, dict[str, Any]]) -> str:
    """What papers and authors report."""
    names = [n for n in fitting(list(numbers), patterns) if METRICS.keys() & numbers[n].keys()]
    if not names:
        return NONE
    metrics = [m for m in METRICS if any(m in numbers[n] for n in names)]
    rows = [
        [link(n), *(f'{numbers[n][m]:g}' if m in numbers[n] else '' for m in metrics)]
        + [numbers[n]['source']]
        for n in names
    ]
    return table('top-1, %', rows, 'source', metrics)


def pages(numbers: dict[str, dict], records: list[dict], data: dict[str, str]) -> dict[Path, str]:
    """The text of each page with its numbers made anew; ``data`` has the titles of data sets."""

    def filled(found: re.Match) -> str:
        kind, patterns = found['kind'], found['patterns'].split()
        text = ours(patterns, records, data) if kind == 'ours' else published(patterns, numbers)
        begin = f'<!-- {kind} {found["patterns"]}: begin, generated -->'
        return f'{begin}\n\n{text}\n\n<!-- {kind}: end -->'

    return {path: BLOCK.sub(filled, path.read_text()) for path in sorted(PAGES.glob('*.md'))}
