"""Run a function on several gloo ranks of this machine."""

import gc

import forked  # noqa: F401, its server has imported the packages already
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_ranks(function, world, folder):
    """The results of ``function(rank, world)``, in rank order.

    Args:
        function: A function of a module that can be imported.
        world: Number of ranks.
        folder: ``tmp_path``, for the rendezvous and the results.
    """
    mp.start_processes(
        _worker, (function, world, str(folder)), nprocs=world, start_method='forkserver'
    )
    return [torch.load(folder / f'{rank}.pt', weights_only=False) for rank in range(world)]


def _worker(rank, function, world, folder):
    gc.freeze()
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/rendezvous', rank=rank, world_size=world)
    try:
        torch.save(function(rank, world), f'{folder}/{rank}.pt')
        # A rank that leaves while another one still connects makes that one fail.
        dist.barrier()
    finally:
        dist.destroy_process_group()
