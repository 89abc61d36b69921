"""The experiment about how MinEnt's network begins."""

import experiment_modules
import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS


@pytest.mark.parametrize('index, zero', [(0, False), (1, True)])
def test_only_the_initialisation_differs(index, zero):
    """The last batch norm of a block is at 1 in the authors' network, at 0 in mmpretrain's."""
    runner = experiment_modules.runner()
    runs = runner.load('minent_initialisation').runs([], 2)
    assert [(r['label']['initialisation'], r['seed']) for r in runs] == [
        ('authors', 0),
        ('mmpretrain', 0),
        ('authors', 1),
        ('mmpretrain', 1),
    ]
    cfg, other = (runner.resolved(run) for run in (runs[index], runs[1 - index]))
    assert cfg.train_cfg.max_epochs == 5
    assert cfg.train_dataloader.dataset.data_root == '{data}/train'
    init_default_scope('mmpretrain')
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert bool(backbone.layer1[0].norm2.weight.eq(0).all()) == zero
    for part in ('neck', 'head'):
        assert cfg.model[part] == other.model[part]
    assert cfg.optim_wrapper == other.optim_wrapper
