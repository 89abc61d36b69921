"""What a measured number has to say about where it was measured."""

import os
import platform

import torch


def machine() -> str:
    """Processor or GPU, cores and torch's version, in one line."""
    if torch.cuda.is_available():
        return f'{torch.cuda.get_device_name()}, torch {torch.__version__}'
    with open('/proc/cpuinfo') as info:
        names = [line.split(':')[1].strip() for line in info if line.startswith('model name')]
    return (
        f'{os.cpu_count()} cores of {(names or [platform.machine()])[0]}, '
        f'{torch.backends.cpu.get_cpu_capability()}, torch '
        f'{torch.__version__}'
    )
