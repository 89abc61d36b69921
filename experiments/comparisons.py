"""Means over seeds, differences that are told from draws, and verdicts.

A difference below twice its standard error is called a draw. A verdict asks for more, since an
error is uncertain itself where it is of few seeds: the bound of Student's t at 95 %, which is 4.3
standard errors for three seeds.
"""

import math
from collections.abc import Iterable
from statistics import mean, stdev

from scipy.special import stdtrit

# The accuracies of tools/evaluate.py, and what tables call them.
SCORES = {'knn': 'kNN, %', 'linear': 'linear, %'}
# Fewer than two seeds have no difference with a standard error; this is told instead.
TOO_FEW = 'not enough seeds'
# The share of comparisons without a difference that chance explains, so that they have no verdict.
CONFIDENCE = 0.95


def spread(values: list[float]) -> str:
    """Mean and standard deviation, which one value has not."""
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def accuracies(records: Iterable[dict], score: str) -> dict[int, float]:
    """The accuracy of each seed."""
    return {r['seed']: r['scores']['checkpoint'][score] for r in records}


def compared(first: dict[int, float], second: dict[int, float]) -> tuple[float, float] | None:
    """Mean and standard error of differences, first less second, of seeds in common.

    They are paired: runs of one seed see the images in the same order. None if there are fewer than
    two.
    """
    seeds = first.keys() & second.keys()
    if len(seeds) < 2:
        return None
    differences = [first[seed] - second[seed] for seed in seeds]
    return mean(differences), stdev(differences) / math.sqrt(len(seeds))


def difference(first: dict[int, float], second: dict[int, float]) -> str:
    """A difference with its standard error; one below twice of that is a draw."""
    found = compared(first, second)
    if found is None:
        return TOO_FEW
    value, error = found
    told = f'{value:+.1f} ± {error:.1f}'
    return f'draw ({told})' if abs(value) <= 2 * error else told


def differences(pairs: list[tuple[dict[int, float], dict[int, float]]]) -> str:
    """The differences of a pair for each of SCORES."""
    names = [title.removesuffix(', %') for title in SCORES.values()]
    return ', '.join(f'{name} {difference(*pair)}' for name, pair in zip(names, pairs))


def gains(before: dict[int, float], after: dict[int, float]) -> dict[int, float]:
    """What each seed in common gains; a loss is below 0."""
    return {seed: after[seed] - before[seed] for seed in before.keys() & after.keys()}


def gained(gain: dict[int, float]) -> str:
    """A gain, or a loss, with its standard error."""
    return difference(gain, dict.fromkeys(gain, 0.0))


def direction(first: dict[int, float], second: dict[int, float]) -> int:
    """1 where the first is better by more than chance explains, -1 where it is worse, or else 0.

    Chance explains the bound of Student's t at CONFIDENCE, for both sides together.
    """
    found = compared(first, second)
    if found is None:
        return 0
    value, error = found
    freedom = len(first.keys() & second.keys()) - 1
    if abs(value) <= stdtrit(freedom, (1 + CONFIDENCE) / 2) * error:
        return 0
    return 1 if value > 0 else -1


def verdict(pairs: list[tuple[dict[int, float], dict[int, float]]]) -> str:
    """Whether the first of each pair is better than the second, which a claim says.

    It is confirmed if all are better by more than chance explains, refuted if all are worse, and
    undecided otherwise.
    """
    found = {direction(*pair) for pair in pairs}
    return {(1,): 'confirmed', (-1,): 'refuted'}.get(tuple(found), 'undecided')


def unanimous(holds: Iterable[bool]) -> str:
    """The verdict on what a claim says of each run: refuted if it holds in none."""
    return {(True,): 'confirmed', (False,): 'refuted'}.get(tuple(set(holds)), 'undecided')


def saves(gain_with: dict[int, float], gain_without: dict[int, float]) -> str:
    """Whether something loses less than without it, of gains that are losses below 0.

    It is undecided where no more is lost without it than chance explains: there is nothing to save.
    """
    loses = direction(gain_without, dict.fromkeys(gain_without, 0.0)) < 0
    return verdict([(gain_with, gain_without)]) if loses else 'undecided'


def settings_table(records: list[dict], settings: Iterable[str]) -> str:
    """A line for each setting with its accuracies."""
    lines = [f'| | {" | ".join(SCORES.values())} | minutes | seeds |', '|---' * 5 + '|']
    for name in settings:
        found = [r for r in records if r['setting'] == name]
        scores = [[*accuracies(found, score).values()] for score in SCORES]
        if not found:
            continue
        cells = [spread(values) for values in scores]
        minutes = mean(r['minutes'] for r in found)
        lines.append(f'| {name} | {" | ".join(cells)} | {minutes:.0f} | {len(found)} |')
    return '\n'.join(lines) if len(lines) > 2 else 'No run is done.'
