"""The metrics that a report shows, by metrics.csv: titles, units, and what each means."""

import csv
import re
from importlib.resources import files
from typing import NamedTuple


class Metric(NamedTuple):
    """How a logged number is shown.

    ``better`` is 'higher', 'lower', or '' where neither is; ``text`` tells the meaning and range.
    """

    title: str
    unit: str = ''
    better: str = ''
    text: str = ''


def _metrics(where: str) -> dict[str, Metric]:
    with files(__package__).joinpath('metrics.csv').open(encoding='utf-8') as stream:
        rows = [row for row in csv.DictReader(stream) if row.pop('where') == where]
    return {row.pop('key'): Metric(**row) for row in rows}


# Metrics of training by their key, and of features, in the order of the page, by the last
# part of their key; mmentropy/functional/diagnostics.py defines the latter.
TRAINING, FEATURES = _metrics('training'), _metrics('features')
# Keys without a chart: they do not tell about learning; effective_rank nearly equals RankMe.
NOT_SHOWN = ('data_time', 'time', 'memory', 'effective_rank')


def training_metric(key: str) -> Metric:
    """The metric of a training or validation key; an unknown key is its own title."""
    if key in TRAINING:
        return TRAINING[key]
    # MinEnt has several heads and logs head0_target_entropy, head1_target_entropy, ...
    known = TRAINING.get(re.sub(r'^head\d+_', '', key), Metric(''))
    return known._replace(title=key.replace('_', ' '))
