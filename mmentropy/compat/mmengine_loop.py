"""Another training loop for a Runner that has built its own.

Host: onedl-mmengine 0.10.12 and mmengine 0.10.7. A Runner chooses its loop when it is made, and has
no setter for it. Hooks first run after that, so a hook that needs one of our loops puts it in the
place of mmengine's here. It can go when every config names the loop in ``train_cfg.type``, or when
mmengine lets a hook set the loop.
"""

from typing import Any

from mmengine.runner import BaseLoop, Runner


def replace_train_loop(runner: Runner, kind: type[BaseLoop]) -> None:
    """Let a Runner train by a loop of another kind, which takes over all that its loop holds.

    Args:
        runner: It has not begun to train.
        kind: A subclass of the class of its loop, whose own attributes have defaults in the class.
    """
    loop: Any = object.__new__(kind)
    vars(loop).update(vars(runner.train_loop))
    runner._train_loop = loop
