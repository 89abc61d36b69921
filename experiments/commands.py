"""The commands of an experiment: a recipe is trained and evaluated as its user would."""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# CIFAR-10 as JPEG in class folders, in place of the originals that a recipe names. The images stay
# decoded in memory.
CIFAR10_JPEG = """
load = [dict(type='CheckedLoadImageFromFile', color_type='unchanged')]
labelled = [*load, dict(type='PackInputs')]
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='ImageFolder',
        data_root='{data}/train',
        pipeline=[*load, dict(type='PackImage')],
    ),
)
eval_datasets = dict(
    train=dict(_delete_=True, type='ClassFolders', data_root='{data}/train', pipeline=labelled),
    test=dict(_delete_=True, type='ClassFolders', data_root='{data}/test', pipeline=labelled),
)
custom_hooks = [dict(type='ResidentImagesHook'), dict(type='ChannelsLastHook')]
"""


def tool(name: str, *arguments: object) -> None:
    """Run a tool of this repository to its end.

    Raises:
        CalledProcessError: it failed; what it printed is above.
    """
    command = [sys.executable, ROOT / 'tools' / name, *arguments]
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def train_and_evaluate(
    config: str, work_dir: Path, seed: int, protocols: str = 'knn,linear', amp: str = 'bfloat16'
) -> dict:
    """Train a config (its text) and evaluate its last checkpoint.

    Returns:
        ``minutes`` of training and the accuracies of ``evaluate.py``, in per cent.
    """
    work_dir.mkdir(parents=True)
    path = work_dir / 'recipe.py'
    path.write_text(config)
    start = time.monotonic()
    tool('train.py', path, '--work-dir', work_dir, '--seed', seed, '--amp', amp)
    minutes = (time.monotonic() - start) / 60
    checkpoint = Path((work_dir / 'last_checkpoint').read_text().strip())
    scores = work_dir / 'scores.json'
    tool('evaluate.py', checkpoint, '--protocols', protocols, '--out', scores, '--workers', 0)
    return dict(minutes=round(minutes, 1), **json.loads(scores.read_text()))
