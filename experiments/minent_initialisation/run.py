"""MinEnt on CIFAR-10, begun as the authors begin and as mmpretrain begins a ResNet.

python experiments/minent_initialisation/run.py --data data/cifar10_jpeg

Each run is a line of results.json beside this file. A run that is there already is not repeated.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path += [str(HERE.parent), str(ROOT / 'tools'), str(ROOT / 'benchmarks')]

from cli import commit  # noqa: E402
from commands import CIFAR10_JPEG, train_and_evaluate  # noqa: E402
from speed.machine import machine  # noqa: E402

RECIPES = dict(
    authors='configs/minent/minent_fast_r18s_1xb256_10e_cifar10.py',
    mmpretrain='configs/minent/minent_fast_zeroinit_r18s_1xb256_10e_cifar10.py',
)
RESULTS = HERE / 'results.json'


def records() -> list[dict]:
    """The runs that are done."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def run(initialisation: str, seed: int, epochs: int, data: Path) -> dict:
    """Train once and return the record."""
    recipe = RECIPES[initialisation]
    config = (
        f'_base_ = {str(ROOT / recipe)!r}\n'
        + CIFAR10_JPEG.format(data=data.resolve())
        + f'train_cfg = dict(max_epochs={epochs})\n'
    )
    work_dir = ROOT / f'work_dirs/minent_initialisation/{initialisation}_{epochs}e_{seed}'
    shutil.rmtree(work_dir, ignore_errors=True)
    found = train_and_evaluate(config, work_dir, seed)
    shutil.rmtree(work_dir)
    return dict(
        initialisation=initialisation,
        seed=seed,
        epochs=epochs,
        config=recipe,
        data='CIFAR-10 as JPEG',
        amp='bfloat16',
        commit=commit(),
        machine=machine(),
        **found,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', type=Path, required=True, help='folder with train/ and test/')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=5)
    args = parser.parse_args()
    for folder in (args.data / 'train', args.data / 'test'):
        if not folder.is_dir():
            parser.error(f'--data: no folder {folder} of class folders')
    for seed in args.seeds:
        for initialisation in RECIPES:
            wanted = (initialisation, seed, args.epochs)
            if wanted not in [(r['initialisation'], r['seed'], r['epochs']) for r in records()]:
                done = [*records(), run(*wanted, args.data)]
                RESULTS.write_text('[\n' + ',\n'.join(map(json.dumps, done)) + '\n]\n')
                print(json.dumps(done[-1]), flush=True)


if __name__ == '__main__':
    main()
