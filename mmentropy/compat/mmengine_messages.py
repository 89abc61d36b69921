"""Messages of hosts that their users can do nothing about.

Host: onedl-mmengine 0.10.12, mmengine 0.10.7, onedl-mmpretrain 1.3.6 and onedl-mmdetection 3.5.1.
Hooks of mmengine make a ``FileClient``, which warns that it is deprecated, mmdet warns when it is
imported that one operator of one detector is absent, and mmpretrain prints a message for developers
where a package of its makers is absent. This can go when the hosts are silent.
"""

import logging as levels
from typing import Any

from mmengine import logging
from mmengine.logging import MMLogger, print_log

LEFT_OUT = ('"FileClient" will be', '"HardDiskBackend" is the alias', 'Line NMS is not compiled')


def leave_out_messages() -> None:
    """Let loggers leave these messages out, and modules imported later print none below INFO."""

    def filtered(logger: MMLogger, record: levels.LogRecord) -> Any:
        if isinstance(record.msg, str) and record.msg.startswith(LEFT_OUT):
            return False
        return levels.Logger.filter(logger, record)

    def print_for_users(msg: Any, logger: Any = None, level: int = levels.INFO) -> None:
        if logger is not None or level >= levels.INFO:
            print_log(msg, logger, level)

    vars(logging)['print_log'] = print_for_users
    setattr(MMLogger, 'filter', filtered)  # noqa: B010, mypy refuses a plain assignment
