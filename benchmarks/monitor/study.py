"""Train on Digits, healthy and to collapse, under the monitor.

python benchmarks/monitor/study.py WORK_DIR [NAME...] --seeds 0 1 2
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models.heads import LatentPredictHead
from mmpretrain.registry import MODELS
from torch import Tensor

from mmentropy.evaluation import evaluate_checkpoint

CONFIGS = Path(__file__).resolve().parent.parent.parent / 'configs'


@MODELS.register_module()
class AttachedPredictHead(LatentPredictHead):
    """SimSiam's head without its stop-gradient, which collapses."""

    def loss(self, input: Tensor, target: Tensor) -> Tensor:
        return self.loss_module(self.predictor([input])[0], target)


def digits(name: str) -> str:
    folder, variant = name.split('/')
    return f'{folder}/{variant}r18s_1xb64_50e_digits.py'


HEALTHY = {
    name: (digits(config), {})
    for name, config in dict(
        mec='mec/',
        mec_simclr='mec/mec_simclr_',
        er_byol='er/er_byol_',
        er_simclr='er/er_simclr_',
        er_dino='er/er_dino_',
        minent='minent/minent_',
        minent_onehead='minent/minent_onehead_',
        byol='baselines/byol_',
        simsiam='baselines/simsiam_',
        simclr='baselines/simclr_',
        dino='baselines/dino_',
        barlowtwins='baselines/barlowtwins_',
    ).items()
}
SICK = dict(
    simsiam_attached=(digits('baselines/simsiam_'), {'model.head.type': 'AttachedPredictHead'}),
    dino_nocentring=(digits('baselines/dino_nocentring_'), {}),
    minent_none=(digits('minent/minent_none_'), {}),
    mec_diverging=(digits('mec/'), {'model.head.loss.guard': False}),
)
RUNS = HEALTHY | SICK


def config(name: str, seed: int, work_dir: Path, interval: int) -> Config:
    """A run of the study: views in batch, bfloat16, channels_last."""
    base, options = RUNS[name]
    cfg = Config.fromfile(CONFIGS / base)
    pipeline = cfg.train_dataloader.dataset.pipeline
    loader = Config.fromfile(CONFIGS / '_base_/views/arrays.py').array_loader
    loader.dataset.pipeline = loader.dataset.pipeline.copy()
    cfg.merge_from_dict(options)
    cfg.data_preprocessor.update(type='BatchViews', pipeline=pipeline)
    cfg.train_dataloader.collate_fn = loader.collate_fn
    cfg.train_dataloader.dataset.pipeline = loader.dataset.pipeline
    cfg.optim_wrapper.update(type='BFloat16OptimWrapper')
    cfg.optim_wrapper.optimizer.fused = True
    cfg.custom_hooks = [
        dict(type='EntropyMonitorHook', interval=interval),
        dict(type='KNNHook', interval=5),
        dict(type='ChannelsLastHook'),
    ]
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = work_dir.name
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', type=Path)
    parser.add_argument('names', nargs='*', choices=[[], *RUNS])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--interval', type=int, default=20)
    args = parser.parse_args()
    for seed in args.seeds:
        for name in args.names or RUNS:
            work_dir = args.work_dir / f'{name}_{seed}'
            results = work_dir / 'results.json'
            if results.exists():
                continue
            runner = Runner.from_cfg(config(name, seed, work_dir, args.interval))
            try:
                runner.train()
            except FloatingPointError as error:
                print(f'{work_dir.name}: {error}')
            checkpoints = sorted(work_dir.glob('epoch_*.pth'), key=lambda p: p.stat().st_mtime)
            scores = evaluate_checkpoint(checkpoints[-1], runner.cfg) if checkpoints else {}
            results.write_text(json.dumps(scores, indent=2) + '\n')
            print(work_dir.name, scores, flush=True)


if __name__ == '__main__':
    main()
