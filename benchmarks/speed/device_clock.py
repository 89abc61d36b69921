"""A clock for what runs on a CUDA card."""

import time

import torch


def device_clock() -> float:
    """Seconds at which all that the card was given to do is done."""
    torch.cuda.synchronize()
    return time.perf_counter()
