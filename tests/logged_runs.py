"""Work directories as mmengine writes them, without training."""

import json
import math
from pathlib import Path

PER_EPOCH = 20
CONFIG = """model = dict(type='MEC', backbone=dict(type='ResNet', depth=18),
             head=dict(type='MECHead', loss=dict(type='MECLoss')))
train_dataloader = dict(batch_size=64, dataset=dict(type='Digits'))
train_cfg = dict(by_epoch=True, max_epochs=6)
randomness = dict(seed=3)
"""
HEAD = """2026/11/22 14:27:36 - mmengine - INFO -
------------------------------------------------------------
System environment:
    Python: 3.11.7 (main)
    CUDA available: True
    GPU 0: Some GPU
    PyTorch: 2.14.1
Runtime environment:
    seed: 3
    GPU number: 2
------------------------------------------------------------
"""


def loss(step: int) -> float:
    return math.sin(step / 9) - 0.3


def bound(step: int) -> float:
    return step / 100


def start(
    folder: Path,
    stamp: str,
    first: int,
    last: int,
    *,
    resumed: int | None = None,
    tag: float = 0.0,
    monitor: bool = True,
    alarms: dict[int, str] | None = None,
    minute: int = 30,
) -> Path:
    """A start that logged iterations ``first`` to ``last``."""
    data = folder / stamp / 'vis_data'
    data.mkdir(parents=True)
    lines, spectra = [], []
    for step in range(first, last + 1, 10):
        lines.append(
            dict(
                loss=loss(step) + tag,
                lr=0.1,
                data_time=9.0,
                epoch=math.ceil(step / PER_EPOCH),
                iter=step,
                step=step,
            )
        )
        if monitor and step % 20 == 0:
            values = {}
            for part in ('backbone', 'projector'):
                values |= {
                    f'monitor/{part}/rankme': 40.0 + tag,
                    f'monitor/{part}/entropy': -134.0 + bound(step),
                    f'monitor/{part}/reconstruction': -134.0 - bound(step),
                    f'monitor/{part}/er_bound': 2 * bound(step),
                }
            lines.append(values | dict(step=step))
            spectra.append(
                dict(
                    iter=step,
                    epoch=step // PER_EPOCH,
                    spectrum=dict(backbone=[0.6, 0.3, 0.1], projector=[0.9, 0.1, 0]),
                )
            )
        if step % 40 == 0:
            lines.append({'knn/top1': 50.0 + step / 10 + tag, 'step': step // PER_EPOCH})
    (data / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    for step, text in (alarms or {}).items():
        spectra.append(dict(iter=step, alarms=[text]))
    if spectra:
        (data / 'monitor.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in spectra))
    (data / 'config.py').write_text(CONFIG)
    log = HEAD
    if resumed is not None:
        log += (
            f'2026/11/22 14:27:40 - mmengine - INFO - resumed epoch: '
            f'{resumed // PER_EPOCH}, iter: {resumed}\n'
        )
    log += (
        '2026/11/22 14:27:42 - mmengine - INFO - Epoch(train)  [1]'
        f'[10/{PER_EPOCH}]  lr: 5.0e-02  loss: -0.0012\n'
    )
    log += (
        f'2026/11/22 14:27:43 - mmengine - INFO - monitor at iteration {last}: backbone RankMe 40\n'
    )
    log += f'2026/11/22 14:{minute}:36 - mmengine - INFO - Saving\n'
    (folder / stamp / f'{stamp}.log').write_text(log)
    return folder
