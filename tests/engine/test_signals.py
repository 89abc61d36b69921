"""All ranks save and leave together."""

import time
from functools import partial
from pathlib import Path

import pytest
from ranks import on_ranks
from safe_runs import config, train
from small import on_rank

from mmentropy.weights import files


def slow_writer(folder, rank, world):
    """Rank 0 takes seconds to write what is saved on a signal, then all leave."""
    write, left = files.put_whole, []

    def slow(data, path):
        if Path(path).name.startswith('interrupted'):
            time.sleep(2)
        write(data, path)

    files.put_whole = slow
    hooks = [dict(type='Disturb', action='warn', at=6)]
    cfg = config(folder / 'run', hooks=hooks)
    cfg.train_dataloader.batch_size = 2
    on_rank(cfg, rank, 'slow')
    try:
        train(cfg)
    except SystemExit as error:
        left.append(error.code)
    return left, [p.name for p in folder.glob('run/*.pth')]


@pytest.mark.slow
def test_all_ranks_stay_until_the_first_has_written(tmp_path):
    for left, there in on_ranks(partial(slow_writer, tmp_path), 2, tmp_path):
        assert left == [75] and 'interrupted_6.pth' in there
