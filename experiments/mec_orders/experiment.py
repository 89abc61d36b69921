"""MEC on CIFAR-10 with one to four terms, other batches, and without its averaged network."""

import cifar10
from comparisons import accuracies, difference, settings_table, verdict

RECIPE = 'configs/mec/fast_r18s_1xb256_10e_cifar10.py'
EPOCHS = 3
# The search of experiments/cifar10_table found these factors on the recipe's rate to be the best.
FACTORS = {'MEC': 3.0}
RATE = FACTORS['MEC']
ORDERS = {f'order {n}': {'model.head.loss.taylor_order': n} for n in (1, 2, 3, 4)}
WHOLE = 'order 4'
# The learning rate of Adam follows the square root of the batch.
BATCHES = {64: RATE / 2, 1024: RATE * 2}
WITHOUT_EMA = 'no EMA'
SETTINGS = (
    {name: (RECIPE, RATE, changes) for name, changes in ORDERS.items()}
    | {
        f'batch {batch}': (RECIPE, rate, {'train_dataloader.batch_size': batch})
        for batch, rate in BATCHES.items()
    }
    | {WITHOUT_EMA: (RECIPE, RATE, {'model.base_momentum': None})}
)
# The paper's linear accuracies fall by no more than this, in points, where it calls MEC robust.
ROBUST = 1.6


def runs(records: list[dict], seeds: int) -> list[dict]:
    """All settings, a seed after the other."""
    return cifar10.setting_runs(SETTINGS, EPOCHS, seeds)


def smoke(run: dict) -> dict | None:
    """Two batches of two settings."""
    if run['label']['setting'] not in (WHOLE, WITHOUT_EMA):
        return None
    return {'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 16}


def page(records: list[dict]) -> dict[str, str]:
    """The generated part of the README."""
    return dict(table=settings_table(records, SETTINGS))


def linear(records: list[dict], setting: str) -> dict[int, float]:
    """The accuracies of the linear probe by seed."""
    return accuracies([r for r in records if r['setting'] == setting], 'linear')


def loses_at_most(records: list[dict], setting: str, points: float) -> tuple[dict, dict]:
    """A pair that is a win if a setting loses less than so many points."""
    whole = {seed: value - points for seed, value in linear(records, WHOLE).items()}
    return linear(records, setting), whole


def verdicts(records: list[dict]) -> list[dict]:
    """Whether more terms are better, and whether batch and EMA matter little."""
    if not records:
        return []
    whole = linear(records, WHOLE)
    lower = {name: linear(records, name) for name in ORDERS if name != WHOLE}
    settings = [f'batch {batch}' for batch in BATCHES]
    return [
        dict(
            claim='More terms of the series are better (70.0, 70.3, 70.5, 70.6 linear)',
            source='arXiv 2210.11464, table 5e',
            verdict=verdict([(whole, found) for found in lower.values()]),
            numbers='order 4 minus '
            + ', '.join(f'{name}: {difference(whole, found)}' for name, found in lower.items()),
        ),
        dict(
            claim='MEC is robust to the batch (69.5 at 128, 70.6 at 1,024)',
            source='arXiv 2210.11464, table 5b',
            verdict=verdict([loses_at_most(records, name, ROBUST) for name in settings]),
            numbers=', '.join(
                f'{name} minus batch 256: {difference(linear(records, name), whole)}'
                for name in settings
            ),
        ),
        dict(
            claim='MEC needs no EMA (69.0 without, 70.6 with 0.996)',
            source='arXiv 2210.11464, table 5d',
            verdict=verdict([loses_at_most(records, WITHOUT_EMA, ROBUST)]),
            numbers=f'without EMA minus with it: {difference(linear(records, WITHOUT_EMA), whole)}',
        ),
    ]
