"""BYOL, DINO and SimCLR on CIFAR-10, without and with ER, at a small batch and with a fast EMA."""

import math

import cifar10
from comparisons import SCORES, accuracies, compared, gained, gains, saves, spread

EPOCHS = 3
METHODS = {
    'BYOL': 'configs/baselines/byol_fast_r18s_1xb256_10e_cifar10.py',
    'BYOL+ER': 'configs/er/er_byol_fast_r18s_1xb256_10e_cifar10.py',
    'DINO': 'configs/baselines/dino_fast_r18s_1xb256_10e_cifar10.py',
    'DINO+ER': 'configs/er/er_dino_fast_r18s_1xb256_10e_cifar10.py',
    'SimCLR': 'configs/baselines/simclr_fast_r18s_1xb256_10e_cifar10.py',
    'SimCLR+ER': 'configs/er/er_simclr_fast_r18s_1xb256_10e_cifar10.py',
}
# The search of experiments/cifar10_table found these factors on the recipe's rate to be the best.
FACTORS = {
    'BYOL': 1.0,
    'BYOL+ER': 9.0,
    'DINO': 3.0,
    'DINO+ER': 9.0,
    'SimCLR': 9.0,
    'SimCLR+ER': 9.0,
}
PLAIN = ('BYOL', 'DINO', 'SimCLR')
BATCH, SMALL = 256, 32
# The EMA of the recipes goes from 0.95 to 1.
WHOLE, FEW, FAST = f'batch {BATCH}', f'batch {SMALL}', 'EMA 0.5'


def changes(method: str, condition: str) -> dict | None:
    """The changes of a condition; None if the method has no EMA to be fast."""
    if condition == FEW:
        return {'train_dataloader.batch_size': SMALL}
    if condition == FAST:
        return None if 'SimCLR' in method else {'model.base_momentum': 0.5}
    return {}


def setting(method: str, condition: str) -> str:
    """What a method in a condition is called."""
    return f'{method}, {condition}'


def factor(method: str, condition: str) -> float:
    """The factor on the learning rate; Adam's follows the square root of the batch."""
    rate = FACTORS[method]
    return rate * math.sqrt(SMALL / BATCH) if condition == FEW else rate


CONDITIONS = (WHOLE, FEW, FAST)
SETTINGS = {
    setting(method, condition): (METHODS[method], factor(method, condition), found)
    for condition in CONDITIONS
    for method in METHODS
    if (found := changes(method, condition)) is not None
}


def runs(records: list[dict], seeds: int) -> list[dict]:
    """All methods in all conditions, a seed after the other."""
    return cifar10.setting_runs(SETTINGS, EPOCHS, seeds)


def smoke(run: dict) -> dict | None:
    """Two batches of a method with the fast EMA."""
    if run['label']['setting'] not in (setting('BYOL', FAST), setting('DINO+ER', FAST)):
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def reached(records: list[dict], method: str, condition: str, score: str) -> dict[int, float]:
    """The accuracies of a method in a condition by seed."""
    return accuracies([r for r in records if r['setting'] == setting(method, condition)], score)


def gain(records: list[dict], method: str, condition: str, score: str) -> dict[int, float]:
    """What each seed gains, or loses if it is below 0, where the condition takes over."""
    whole = reached(records, method, WHOLE, score)
    return gains(whole, reached(records, method, condition, score))


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    title = ' | '.join(f'{c}, {name}' for c in CONDITIONS for name in SCORES.values())
    lines = [f'| | {title} |', '|---' * (1 + len(CONDITIONS) * len(SCORES)) + '|']
    for method in METHODS:
        found = [
            [*reached(records, method, condition, score).values()]
            for condition in CONDITIONS
            for score in SCORES
        ]
        cells = [spread(values) if values else '' for values in found]
        if any(cells):
            lines.append(f'| {method} | {" | ".join(cells)} |')
    return dict(table='\n'.join(lines) if len(lines) > 2 else 'No run is done.')


def verdicts(records: list[dict]) -> list[dict]:
    """Whether ER loses less than the method that it is put into."""
    claims = {
        FEW: 'With ER {} loses less at a small batch',
        FAST: 'With ER {} loses less with a fast EMA',
    }
    found = []
    for condition, claim in claims.items():
        for method in PLAIN:
            pairs = [
                tuple(gain(records, m, condition, score) for m in (f'{method}+ER', method))
                for score in SCORES
            ]
            if any(compared(*pair) is None for pair in pairs):
                continue
            told = [
                f'{name.removesuffix(", %")} {gained(without)} without ER, '
                f'{gained(with_er)} with it'
                for name, (with_er, without) in zip(SCORES.values(), pairs)
            ]
            both = {saves(*pair) for pair in pairs}
            found.append(
                dict(
                    claim=claim.format(method),
                    source='arXiv 2307.10907, table 2',
                    verdict=both.pop() if len(both) == 1 else 'undecided',
                    numbers=f'CIFAR-10, {condition}: {"; ".join(told)}',
                )
            )
    return found
