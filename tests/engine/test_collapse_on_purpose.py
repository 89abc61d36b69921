"""An objective whose term against collapse is taken away collapses, and the monitor says so."""

import json
from pathlib import Path

import objectives_table
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from repository import REPOSITORY

OBJECTIVES = {
    name: entry for name, entry in objectives_table.objectives().items() if entry['without']
}
FAMILY = REPOSITORY / 'configs/family'


def config(name, work_dir, changes):
    """Two epochs of 40 iterations of a tiny network at a high learning rate."""
    cfg = Config.fromfile(FAMILY / f'{name}_r18s_1xb64_50e_digits.py')
    loss = cfg.model.head.get('loss', cfg.model.head)
    assert loss.type == OBJECTIVES[name]['loss']
    loss.update(changes)
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.neck.in_channels = 32
    cfg.optim_wrapper.optimizer.lr = 0.01
    cfg.param_scheduler = []
    cfg.train_cfg.max_epochs = 2
    cfg.train_dataloader.update(batch_size=32, num_workers=0, persistent_workers=False)
    cfg.default_hooks = dict(checkpoint=None)
    cfg.custom_hooks = [dict(type='EntropyMonitorHook', interval=5, images=128)]
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}_{work_dir.name}'
    cfg.log_level = 'ERROR'
    return cfg


def trained(name, work_dir, changes):
    """What the monitor reported."""
    torch.set_num_threads(1)
    runner = Runner.from_cfg(config(name, work_dir, changes))
    runner.train()
    file = Path(runner.log_dir, 'vis_data/monitor.jsonl')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 16
    return {alarm.split(':')[0] for line in lines for alarm in line['alarms']}


@pytest.mark.slow
@pytest.mark.parametrize('name', OBJECTIVES)
def test_collapse_on_purpose_is_reported(name, tmp_path):
    entry = OBJECTIVES[name]
    assert trained(name, tmp_path, entry['without']) == set(entry['reported'])


@pytest.mark.slow
def test_whole_objective_is_not_reported(tmp_path):
    assert trained('emp_ssl', tmp_path, {}) == set()
