"""Several iterations that share a step of the optimiser, said and reckoned with."""

from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from mmentropy.distributed import unwrapped
from mmentropy.engine.exact_accumulation import PARTS


def iterations_per_step(runner: Runner) -> int:
    """Return how many iterations share a step; 1 where the algorithm has several optimisers."""
    several = isinstance(runner.optim_wrapper, OptimWrapperDict)
    return 1 if several else runner.optim_wrapper._accumulative_counts


def batch_of(runner: Runner) -> int:
    """Return the number of images of all ranks in an iteration."""
    loader = runner.train_dataloader
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 0)
    return size * get_world_size()


def accumulation_line(runner: Runner) -> str:
    """Tell how many images there are in a step, and in an iteration; '' if that is the same."""
    steps, rows = iterations_per_step(runner), batch_of(runner)
    if steps == 1:
        return ''
    return (
        f'accumulation: {steps} iterations x {rows} = {steps * rows} images a step of the '
        f'optimiser; entropies and batch statistics see {rows}'
    )


def parts_line(runner: Runner) -> str:
    """Tell in how many parts a batch is encoded; '' if it is encoded as a whole."""
    parts = getattr(unwrapped(runner.model), PARTS, 1)
    if parts == 1:
        return ''
    rows = batch_of(runner) // get_world_size()
    return (
        f'exact accumulation: the {rows} images of a process are encoded in {parts} parts of '
        f'{-(-rows // parts)}, which is the memory they take; the objective sees all images, batch '
        'norm those of a part'
    )


def scale_lr_by_step(runner: Runner) -> None:
    """Let mmengine scale the learning rate by the images of a step, not of an iteration.

    The optimiser of the Runner is built, and training has not begun. A warning says that a training
    of so many iterations sees more or fewer images than it was meant for.
    """
    scale = runner.auto_scale_lr
    if scale and scale.get('enable') and scale.get('base_batch_size'):
        base = scale['base_batch_size'] / iterations_per_step(runner)
        runner.auto_scale_lr = dict(scale, base_batch_size=base)
        share = batch_of(runner) / scale['base_batch_size']
        if share != 1 and isinstance(runner.train_loop, IterBasedTrainLoop):
            runner.logger.warning(
                f'--auto-scale-lr scales the learning rate alone: {runner.max_iters:,} iterations '
                f'see {share:.3g} times the images that the config is meant for; keep its batch by '
                'train_dataloader.batch_size, or change max_iters and the schedules'
            )
