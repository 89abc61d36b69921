"""Counts of unreadable images, of all ranks together."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mmentropy.datasets.unreadable_images import replacing


@HOOKS.register_module()
class BadImagesHook(Hook):
    """Say after each epoch how many training images were unreadable.

    The ranks tell each other which: training stops at a share of the images of all ranks.

    Raises:
        OSError: After an epoch, if too many were unreadable.
    """

    def after_train_epoch(self, runner: Runner) -> None:
        for dataset in replacing(runner.train_dataloader.dataset):
            dataset.share_unreadable()
            dataset.check_share()
            if dataset.num_unreadable:
                runner.logger.warning(
                    f'{dataset.num_unreadable} of {len(dataset)} images were '
                    f'unreadable{dataset.named_in()}'
                )
