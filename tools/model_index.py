"""Write metafiles, model-index.yml and the tables of configs/*/README.md.

They are made of the configs, of configs/published.yml (the papers' numbers)
and of docs/results.json (ours). With --check nothing is written, and the exit
status is 1 if anything is out of date.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

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
)
METRICS = dict(linear='linear', knn='kNN (k = 20)', knn5='kNN (k = 5, Euclidean)')
BEGIN, END = '<!-- recipes: begin, generated -->', '<!-- recipes: end -->'


def recipes(folder: str) -> list[str]:
    """Names of a folder's configs, as ``mec/r50_8xb64_100e_in1k``."""
    configs = ROOT / 'configs'
    return sorted(
        str(path.relative_to(configs).with_suffix('')) for path in (configs / folder).rglob('*.py')
    )


def hyper_parameters(name: str) -> dict:
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    optimizer = cfg.optim_wrapper.optimizer
    return {
        'Training Data': DATA[re.search(r'\d+e_(\w+)$', name)[1]],
        'Epochs': cfg.train_cfg.max_epochs,
        'Batch Size': cfg.auto_scale_lr.base_batch_size,
        'Optimizer': optimizer.type,
        'Learning Rate': round(optimizer.lr, 6),
        'Weight Decay': optimizer.get('weight_decay', 0.0),
    }


def measured(name: str, records: list[dict]) -> dict:
    """Our own numbers, the mean over seeds, or an empty dict."""
    ours = [r for r in records if r.get('config') == name]
    scores = {
        key: round(mean(r[key] for r in ours), 2)
        for key in METRICS
        if ours and all(key in r for r in ours)
    }
    if ours:
        scores['seeds'] = len(ours)
        scores['commit'] = ours[-1]['commit']
    return scores


def description(name: str) -> str:
    """The comment at the head of a config."""
    lines = (ROOT / 'configs' / f'{name}.py').read_text().splitlines()
    head = lines[: next(i for i, line in enumerate(lines) if line[:1] != '#')]
    return ' '.join(line.lstrip('# ') for line in head)


def model(name: str, collection: str, published: dict, records: list[dict]) -> dict:
    """One entry of a metafile; ``Results`` are ours, ``Paper Results`` not."""
    entry = {
        'Name': name.replace('/', '_'),
        'In Collection': collection,
        'Config': f'configs/{name}.py',
        'Description': description(name),
        'Metadata': hyper_parameters(name),
        'Results': None,
    }
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
                Seeds=ours['seeds'],
                Commit=ours['commit'],
            )
        ]
    if name in published:
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
            source = f' ({paper["source"]})' if paper else ''
            ours = measured(name, records)
            seeds = f', {ours["seeds"]} seeds' if ours.get('seeds', 1) > 1 else ''
            link = Path(*path.parts[2:])
            lines.append(
                f'| [{link.stem}]({link}) | {entry["Description"]} '
                f'| {meta["Epochs"]} | {meta["Batch Size"]} '
                f'| {meta["Optimizer"]}, {meta["Learning Rate"]:g} '
                f'| {scores_cell(paper)}{source} | {scores_cell(ours)}{seeds} '
                '|'
            )
    return '\n'.join(lines)


def generated() -> dict[Path, str]:
    """The content of every file that this tool keeps."""
    published = yaml.safe_load((ROOT / 'configs/published.yml').read_text())
    records = json.loads((ROOT / 'docs/results.json').read_text())
    names = {name for folder in COLLECTIONS for name in recipes(folder)}
    unknown = {*published, *(r['config'] for r in records if 'config' in r)} - names
    if unknown:
        raise SystemExit(f'error: results of no config: {sorted(unknown)}')
    files = {}
    for folder, (collection, title, url) in COLLECTIONS.items():
        models = [model(name, collection, published, records) for name in recipes(folder)]
        head = {'Name': collection, 'README': f'configs/{folder}/README.md'}
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
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true')
    check = parser.parse_args().check
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
