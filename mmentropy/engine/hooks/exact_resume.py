"""A resumed run ends where the unbroken one would."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import IterableDataset

from mmentropy.engine.accumulation import batch_of
from mmentropy.engine.random_state import network_seed, seed_host_and_devices
from mmentropy.engine.seeded_loader import SeededBatches, seeded_loader
from mmentropy.engine.train_loop import replace_dataloader, require_train_loop

# The key in the message hub, and so in a checkpoint, of the number of batches an epoch.
STATE = 'exact_resume'
# The key there of the iteration after which the last validation was done.
VALIDATED = 'validated'
# The key there of what the hooks know that may end a training early, and their attributes.
EARLY = 'early_stopping'
REMEMBERED = ('wait_count', 'best_score')


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Let a resumed run end where the unbroken one would, bit for bit.

    What the network draws is seeded by the seed of the run, the rank and the iteration, and what
    the transforms of an image draw also by its place in the batch. So the draws depend neither on
    the number of loader processes, nor on other images, nor on where a run was broken off. A
    checkpoint from within an epoch goes on with the next batch of that epoch. A validation that was
    due after the checkpoint was written is done first, because schedulers may follow it. What an
    ``EarlyStoppingHook`` knows is in the checkpoint, too.

    On a GPU it also takes ``randomness=dict(deterministic=True)``. On a CPU it takes one thread,
    because several may round differently from run to run.

    Raises:
        ValueError: The run resumes with another number of batches an epoch, which schedules count,
            or ``train_cfg`` names a loop of somebody else.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        require_train_loop(runner, 'ExactResumeHook')

    def before_train(self, runner: Runner) -> None:
        seed_samplers(runner)
        loop, loader = runner.train_loop, runner.train_dataloader
        done = batches_done(runner)
        self._compare_batch(runner)
        runner.message_hub.update_info(STATE, dict(batches=len(loader), images=batch_of(runner)))
        # A loader without rows cannot be seeded, and one that trained before is seeded already.
        has_rows = loader.batch_sampler and not isinstance(loader.dataset, IterableDataset)
        if has_rows and not isinstance(loader.batch_sampler, SeededBatches):
            first = first_iteration(runner)
            where = runner if isinstance(loop, EpochBasedTrainLoop) else None
            batches = SeededBatches(loader.batch_sampler, runner.seed, first, done, where)
            replace_dataloader(loop, seeded_loader(loader, batches))
        self._early = [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
        if runner.iter > 0:
            for hook, known in zip(self._early, runner.message_hub.get_info(EARLY, [])):
                vars(hook).update(known)
        if done:
            loop.batches_done = done
        self._owes_validation = runner.iter > 0 and not done and validation_is_missing(runner)

    def _compare_batch(self, runner: Runner) -> None:
        """Warn of another batch than that of the checkpoint, where training counts iterations."""
        before = runner.message_hub.get_info(STATE, {}).get('images') if runner.iter > 0 else None
        if before not in (None, batch_of(runner)):
            runner.logger.warning(
                f'the checkpoint is of a run of {before} images an iteration, on all processes '
                f'together, and this is one of {batch_of(runner)}: it goes on after another number '
                'of images, at the learning rate in the checkpoint'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        # Other hooks are ready for a validation only when ``before_train`` of all is done.
        if self._owes_validation:
            self._owes_validation = False
            with after_last_iteration(runner):
                runner.val_loop.run()

    # There is no further epoch if the validation of the last one is missing.
    after_train = before_train_epoch

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        # This hook comes first, so that a checkpoint of the best metrics contains it.
        runner.message_hub.update_info(VALIDATED, runner.iter)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        # Checkpoints are saved after it, and before the validation of the same iteration.
        if self._early:
            known = [{key: getattr(hook, key) for key in REMEMBERED} for hook in self._early]
            runner.message_hub.update_info(EARLY, known)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        seed_host_and_devices(network_seed(runner.seed, runner.iter))


@contextmanager
def after_last_iteration(runner: Runner) -> Iterator[None]:
    """Let the message hub name the last iteration and epoch that are done, and not the next ones.

    A validation within an unbroken run sees the last ones, and warm-ups of objectives read them.
    """
    info, last = runner.message_hub.runtime_info, dict(iter=runner.iter - 1)
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        last['epoch'] = runner.epoch - 1
    before = {key: info[key] for key in last if key in info}
    info.update({key: last[key] for key in before})
    try:
        yield
    finally:
        info.update(before)


def batches_done(runner: Runner) -> int:
    """Return how many batches of an epoch were trained on before the run was resumed.

    It is 0 where training counts iterations. A run of other epochs raises a ValueError.
    """
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return 0
    batches = len(runner.train_dataloader)
    done = runner.iter - runner.epoch * batches
    state = runner.message_hub.get_info(STATE, {}) if runner.iter > 0 else {}
    before = state.get('batches', batches)
    if before != batches or not 0 <= done <= batches:
        raise ValueError(
            f'the checkpoint, of epoch {runner.epoch} and iteration {runner.iter}, is not of a run '
            f'of {batches} batches an epoch: resume with the same images and the same '
            'train_dataloader.batch_size times number of processes, or start a new run from its '
            'weights with load_from'
        )
    return done


def first_iteration(runner: Runner) -> int:
    """Return the iteration that the first batch of the loader belongs to."""
    loop = runner.train_loop
    # mmengine's loop over iterations otherwise loads and throws away what was trained on.
    goes_on = (
        isinstance(loop, EpochBasedTrainLoop)
        or getattr(loop, 'fast_forward_on_resume', False)
        or hasattr(loop.dataloader.sampler, 'skip')
    )
    return runner.iter if goes_on else 0


def validation_is_missing(runner: Runner) -> bool:
    """Return whether the loop would have validated here before it went on."""
    loop = runner.train_loop
    if runner.val_loop is None or runner.message_hub.get_info(VALIDATED, -1) >= runner.iter:
        return False
    loop._decide_current_val_interval()
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    now, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    return now >= loop.val_begin and (now % loop.val_interval == 0 or now == end)


def seed_samplers(runner: Runner) -> None:
    """Seed the samplers of the training set by the seed of the run, unless the config does."""
    # mmengine seeds them when it builds the loader, before it reads the seed in a checkpoint.
    loader, cfg = runner.train_dataloader, runner.cfg
    sampler_cfg = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if cfg.get('randomness', {}).get('diff_rank_seed') or 'seed' in sampler_cfg:
        return
    # A batch sampler has a sampler of its own beside the loader's.
    samplers: list[Any] = [loader.sampler, getattr(loader.batch_sampler, 'sampler', None)]
    for sampler in samplers:
        if hasattr(sampler, 'seed'):
            sampler.seed = runner.seed
