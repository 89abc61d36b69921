"""Means over seeds, and differences that are told from draws."""

import math
from collections.abc import Iterable
from statistics import mean, stdev

# The accuracies of tools/evaluate.py, and what tables call them.
SCORES = {'knn': 'kNN, %', 'linear': 'linear, %'}
# Fewer than two seeds have no difference with a standard error; this is told instead.
TOO_FEW = 'not enough seeds'


def spread(values: list[float]) -> str:
    """Mean and standard deviation, which one value has not."""
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def accuracies(records: Iterable[dict], score: str) -> dict[int, float]:
    """The accuracy of each seed; runs that diverged have none."""
    return {r['seed']: r['scores']['checkpoint'][score] for r in records if 'scores' in r}


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


def gained(gain: dict[int, float]) -> str:
    """A gain, or a loss, with its standard error."""
    return difference(gain, dict.fromkeys(gain, 0.0))


def verdict(pairs: list[tuple[dict[int, float], dict[int, float]]]) -> str:
    """Whether the first of each pair is better than the second, which a claim says.

    It is confirmed if all differences are above twice their standard errors, refuted if all are
    below minus that, and undecided otherwise, and with fewer than two seeds.
    """
    found = [compared(*pair) for pair in pairs]
    if not found or None in found:
        return 'undecided'
    if all(value > 2 * error for value, error in found):
        return 'confirmed'
    return 'refuted' if all(value < -2 * error for value, error in found) else 'undecided'


def saves(gain_with: dict[int, float], gain_without: dict[int, float]) -> str:
    """Whether something loses less than without it, of gains that are losses below 0.

    It cannot be confirmed where nothing is lost without it.
    """
    found = verdict([(gain_with, gain_without)])
    loses = verdict([(dict.fromkeys(gain_without, 0.0), gain_without)]) == 'confirmed'
    return 'undecided' if found == 'confirmed' and not loses else found


def settings_table(records: list[dict], settings: Iterable[str]) -> str:
    """A line for each setting with its accuracies."""
    lines = [f'| | {" | ".join(SCORES.values())} | minutes | seeds |', '|---' * 5 + '|']
    for name in settings:
        found = [r for r in records if r['setting'] == name]
        scores = [[*accuracies(found, score).values()] for score in SCORES]
        if not found:
            continue
        cells = [spread(values) if values else 'diverged' for values in scores]
        minutes = mean(r['minutes'] for r in found)
        lines.append(f'| {name} | {" | ".join(cells)} | {minutes:.0f} | {len(found)} |')
    return '\n'.join(lines) if len(lines) > 2 else 'No run is done.'
