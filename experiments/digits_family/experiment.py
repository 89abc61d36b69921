"""The entropy objectives of the family on Digits, in the quickstart's 50 epochs."""

from statistics import mean, stdev

METHODS = {
    'VICReg': 'vicreg',
    'EMP-SSL': 'emp_ssl',
    'I-VNE+': 'ivne',
    'FroSSL': 'frossl',
    'MMCR': 'mmcr',
    'CorInfoMax': 'corinfomax',
    'INTL': 'intl',
    'LeJEPA': 'lejepa',
    'SimDINO': 'simdino',
    'Matrix-SSL': 'matrix_ssl',
}
EPOCHS = 50
SCORES = {'knn': 'kNN (k = 20), %', 'linear': 'linear probe, %'}


def runs(records: list[dict], seeds: int) -> list[dict]:
    """The recipe of each objective as it stands, a seed of all objectives after the other."""
    return [
        dict(
            label=dict(method=method, epochs=EPOCHS),
            recipe=f'configs/family/{name}_r18s_1xb64_50e_digits.py',
            changes={},
            seed=seed,
            evaluate=['--protocols', 'knn,linear'],
        )
        for seed in range(seeds)
        for method, name in METHODS.items()
    ]


def smoke(run: dict) -> dict | None:
    """The shortest schedule with the recipe's warm-up, of two objectives."""
    less = {f'{name}.indices': 128 for name in ('train_dataloader.dataset', 'eval_datasets.train')}
    short = less | {'train_cfg.max_epochs': 6}
    return short if run['label']['method'] in ('VICReg', 'LeJEPA') else None


def spread(values: list[float]) -> str:
    """Mean and standard deviation, which one value has not."""
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    lines = [f'| | {" | ".join(SCORES.values())} | minutes | seeds |', '|---|---|---|---|---|']
    for method in METHODS:
        found = [r for r in records if r['method'] == method and 'scores' in r]
        if found:
            scores = [r['scores']['checkpoint'] for r in found]
            cells = [spread([s[protocol] for s in scores]) for protocol in SCORES]
            minutes = mean(r['minutes'] for r in found)
            lines.append(f'| {method} | {" | ".join(cells)} | {minutes:.1f} | {len(found)} |')
    return dict(table='\n'.join(lines) if len(lines) > 2 else 'No run is done.')
