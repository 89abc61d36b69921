"""kNN accuracy while a network trains."""

import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from mmentropy.checks.arguments import COUNT, DICT, FLAG, INDEX, POSITIVE, one_of, or_none, require
from mmentropy.engine.best_checkpoint import check_save_best, save_best
from mmentropy.engine.random_state import random_state_kept
from mmentropy.evaluation import METRICS, build_knn_data, eval_datasets, model_knn
from mmentropy.evaluation.scored import NoScoreError


@HOOKS.register_module()
class KNNHook(Hook):
    """Measure the kNN accuracy of the backbone during pre-training.

    It runs every ``interval`` and at the end of training, on all ranks, logs one line, and adds
    ``knn/top1`` to the visualizer and ``val/knn_top1`` to the message hub, in percent. Training
    goes on as if it had not run. The data sets are built once, when training starts. Where those of
    their images that can be read are of one class, a warning is logged in place of a score.

    Args:
        train: The config of the labelled bank, with a plain pipeline of one view. The default is
            that of the config's ``eval_datasets``.
        test: The config of the labelled queries, likewise.
        interval: The number of epochs between two measurements, or of iterations if not
            ``by_epoch``.
        k: See :func:`mmentropy.evaluation.knn_predict`, also for ``metric`` and ``temperature``.
        batch_size: The number of images per rank and step.
        by_epoch: Whether to count epochs; False where training counts iterations.
        num_workers: The number of loader processes per rank.

    Raises:
        ValueError: Before the first step, if an argument is wrong, ``by_epoch`` is set where
            training counts iterations, no labelled data are named, or see
            :func:`mmentropy.evaluation.build_knn_data`.
    """

    def __init__(
        self,
        train: dict | None = None,
        test: dict | None = None,
        interval: int = 10,
        k: int = 20,
        metric: str = 'cosine',
        temperature: float = 0.07,
        batch_size: int = 256,
        by_epoch: bool = True,
        num_workers: int = 0,
    ) -> None:
        require(COUNT, interval=interval, k=k, batch_size=batch_size)
        require(POSITIVE, temperature=temperature)
        require(INDEX, num_workers=num_workers)
        require(FLAG, by_epoch=by_epoch)
        require(or_none(DICT), train=train, test=test)
        require(one_of(METRICS), metric=metric)
        self.train = train
        self.test = test
        self.interval = interval
        self.knn: dict[str, Any] = dict(k=k, metric=metric, temperature=temperature)
        self.loader: dict[str, Any] = dict(batch_size=batch_size, num_workers=num_workers)
        self.by_epoch = by_epoch
        self.datasets: list[Any] = []

    def scalar_names(self, runner: Runner) -> list[str]:
        """Return what ``save_best`` of the CheckpointHook may name."""
        return ['knn/top1']

    def before_train(self, runner: Runner) -> None:
        check_save_best(runner)
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                'KNNHook counts epochs, but training counts iterations: set by_epoch=False'
            )
        if not self.datasets:
            train, test = self.train, self.test
            if train is None or test is None:
                defaults = eval_datasets(runner.cfg)
                train, test = train or defaults[0], test or defaults[1]
            trained = (runner.cfg.get('train_dataloader') or {}).get('dataset')
            with random_state_kept():
                self.datasets = [*build_knn_data(train, test, self.knn['k'], trained)]

    def after_train_epoch(self, runner: Runner) -> None:
        if self.by_epoch and (
            self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        ):
            self._evaluate(runner, 'epoch', runner.epoch + 1)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if not self.by_epoch and (
            self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        ):
            self._evaluate(runner, 'iteration', runner.iter + 1)

    def _evaluate(self, runner: Runner, unit: str, step: int) -> None:
        start = time.perf_counter()
        train, test = self.datasets
        try:
            with random_state_kept():
                top1 = model_knn(runner.model, train, test, self.loader, **self.knn)
        except NoScoreError as error:
            # Images that cannot be read were replaced by others, of other classes.
            runner.logger.warning(f'no kNN after {unit} {step}: {error}')
            return
        runner.message_hub.update_scalar('val/knn_top1', top1)
        runner.visualizer.add_scalar('knn/top1', top1, step)
        runner.logger.info(
            f'kNN after {unit} {step}: top-1 {top1:.2f} % '
            f'({self.knn["metric"]}, k={self.knn["k"]}, {len(train)} + {len(test)} rows, '
            f'{time.perf_counter() - start:.1f} s)'
        )
        save_best(runner, {'knn/top1': top1}, self.by_epoch)
