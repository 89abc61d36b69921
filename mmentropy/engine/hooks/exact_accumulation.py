"""Training on large batches in the memory of small ones."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mmentropy.checks.arguments import COUNT, require
from mmentropy.distributed import unwrapped
from mmentropy.engine.accumulation import parts_line
from mmentropy.engine.exact_accumulation import accumulate_exactly


@HOOKS.register_module()
class ExactAccumulationHook(Hook):
    """Take each batch in parts, with the gradient of the whole.

    ``train_dataloader.batch_size`` is that of the whole batch, so that schedules, EMA, learning
    rate and entropies are those of a large batch; memory is that of a part, beside images and
    projections. The encoder runs forward twice. Value and gradient equal those of the whole batch
    to rounding, but where there is batch norm: its statistics are those of a part.

    It works for our algorithms and those of mmpretrain whose neck takes what the backbone gives.

    Args:
        parts: The number of parts of a rank's batch. 1 changes nothing.

    Raises:
        ValueError: ``parts`` is no number; before training, the network is sharded or no algorithm
            with a neck; in the first iteration, it does something else with the features.
    """

    def __init__(self, parts: int) -> None:
        require(COUNT, parts=parts)
        self.parts = parts

    def before_train(self, runner: Runner) -> None:
        if self.parts > 1:
            accumulate_exactly(unwrapped(runner.model), self.parts)
            runner.logger.info(parts_line(runner))
