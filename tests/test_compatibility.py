"""Runs of commit b63010e go on: its checkpoints, its configs and its numbers.

``tests/compatibility`` holds what ``tools/train.py`` of that commit wrote in
four epochs of MEC and of MinEnt on 128 images of Digits, on one thread: the
dumped config, the checkpoint of epoch 2, and all values of the state dict of
epoch 4, sorted by key and joined. ``KNN`` is what its ``tools/evaluate.py``
said of the checkpoint.
"""

import os

import numpy as np
import pytest
import torch
from forked import python
from repository import REPOSITORY

from mmentropy.evaluation import evaluate_checkpoint
from mmentropy.weights.reader import read_checkpoint
from mmentropy.weights.stored_config import config_of

FILES = REPOSITORY / 'tests/compatibility'
KNN = dict(mec=52.4, minent=45.8)
ENV = dict(os.environ, OMP_NUM_THREADS='1')


# That commit took the cosine of the EMA one step later than the authors and we do.
TRAIN = """
import runpy
import sys
from mmentropy.models import ForeachEMA

momentum = ForeachEMA.current_momentum
ForeachEMA.current_momentum = lambda self, step: momentum(self, step + 1)
sys.path.insert(0, 'tools')
runpy.run_path('tools/train.py', run_name='__main__')
"""


def values_of(path):
    state = read_checkpoint(path)['state_dict']
    return np.concatenate([state[key].numpy().ravel() for key in sorted(state)])


@pytest.mark.slow
@pytest.mark.parametrize('method', KNN)
def test_a_checkpoint_evaluates_to_the_same_number(method):
    path = FILES / f'{method}_epoch_2.pth'
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = evaluate_checkpoint(path, config_of(path), protocols=['knn'])
    finally:
        torch.set_num_threads(threads)
    assert found == dict(checkpoint=dict(knn=pytest.approx(KNN[method])))


@pytest.mark.slow
@pytest.mark.parametrize('method', KNN)
def test_a_run_resumes_from_its_checkpoint_and_config_to_the_same_weights(method, tmp_path):
    options = ['--work-dir', tmp_path, '--resume', FILES / f'{method}_epoch_2.pth']
    config = FILES / f'{method}_config.py'
    done = python('-c', TRAIN, config, *options, cwd=REPOSITORY, env=ENV)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Epoch(train) [3]' in done.stdout and 'Epoch(train) [2]' not in done.stdout
    expected = np.load(FILES / f'{method}_weights_epoch_4.npy')
    found = values_of(tmp_path / 'epoch_4.pth')
    print('difference', np.abs(found - expected).max())
    # Equal to the last bit on the machine where the files were made; other
    # processors round sums in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
