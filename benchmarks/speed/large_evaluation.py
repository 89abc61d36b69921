"""kNN and linear probe of as many rows as ImageNet has: measured on a part, computed for the whole.

python benchmarks/speed/large_evaluation.py --part 0.1

Features are random, of 2,048 columns and 1,000 classes. Seconds are those of one thread of the
processor; memory is the peak of a call over what was there before, the features. Of the linear
probe one epoch of the sweep and one of the best rate are measured. The whole has 1 / part times as
many rows and queries, so that kNN takes the square of that as long, and the epochs that
``linear_probe`` makes of so many rows.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from evaluation import peak

from mmentropy.evaluation import knn_accuracy
from mmentropy.evaluation.linear import (
    LEARNING_RATES,
    SWEEP_EPOCHS,
    SWEEP_NUMBERS,
    Training,
    all_rows,
    fit_and_score,
    stratified_tenth,
)

ROWS, QUERIES, WIDTH, CLASSES, EPOCHS = 1_281_167, 50_000, 2048, 1000, 100


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--part', type=float, default=0.1, help='of rows and queries')
    args = parser.parse_args()
    least = CLASSES / QUERIES
    if not least <= args.part <= 1:
        parser.error(f'--part: must be between {least} and 1, got {args.part}')
    return args


def features(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random rows with labels that go round."""
    return torch.randn(rows, WIDTH), torch.arange(rows) % CLASSES


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds and MiB of a call."""
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak
    before, start = peak(), time.process_time()
    call()
    return time.process_time() - start, peak() - before


def sweep_epochs(rows: int) -> int:
    """The epochs by which the rates are compared."""
    return min(EPOCHS, max(SWEEP_EPOCHS, SWEEP_NUMBERS // (rows * WIDTH)))


def main() -> None:
    part = parse_args().part
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train_x, train_y = features(int(part * ROWS))
    test_x, test_y = features(int(part * QUERIES))
    train, test = all_rows(train_x, train_y), all_rows(test_x, test_y)
    out = stratified_tenth(train_y, torch.Generator().manual_seed(0))
    kept, tenth = (train._replace(rows=train.rows[rows]) for rows in (~out, out))
    epoch = Training(CLASSES, 1, 256, 0)
    rates = [(rate, 0.0) for rate in LEARNING_RATES]
    calls = {
        'kNN': lambda: knn_accuracy(train_x, train_y, test_x, test_y),
        'an epoch by six rates': lambda: fit_and_score(kept, tenth, rates, epoch),
        'an epoch by the best': lambda: fit_and_score(train, test, rates[:1], epoch),
    }
    print(f'{len(train_x)} rows, {len(test_x)} queries, {WIDTH} columns, {CLASSES} classes\n')
    print('| | s | MiB | times in the part | times in the whole |\n|---|---|---|---|---|')
    times = {
        'kNN': (1, part**-2),
        'an epoch by six rates': (sweep_epochs(len(train_x)), sweep_epochs(ROWS) / part),
        'an epoch by the best': (EPOCHS, EPOCHS / part),
    }
    totals = [0.0, 0.0]
    for name, call in calls.items():
        seconds, memory = measured(call)
        print(
            f'| {name} | {seconds:.0f} | {memory:.0f} | {times[name][0]} | {times[name][1]:.0f} |'
        )
        totals = [total + seconds * count for total, count in zip(totals, times[name])]
    size = 4 * WIDTH * ROWS / 2**30
    print(f'\nall of it, hours of one core: the part {totals[0] / 3600:.1f}, ', end='')
    print(f'the whole {totals[1] / 3600:.0f} beside {size:.1f} GiB of features')


if __name__ == '__main__':
    main()
