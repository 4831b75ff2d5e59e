"""One process for each device, on one machine or several, that need nothing of each other."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

import torch

from gpvit.errors import UserError


@dataclass(frozen=True)
class Place:
    """Where a process stands among all.

    Args:
        rank: Its number.
        world_size: How many there are, on all machines together.
        local_rank: Its number on its machine, which is that of its device.
    """

    rank: int
    world_size: int
    local_rank: int


def given_place(devices: int, num_nodes: int, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Tell the place that torchrun or SLURM gave this process; None if neither started it for one device.

    Args:
        devices: Processes on each machine.
        num_nodes: Machines.
        environment: Its variables.

    Raises:
        ValueError: If they started another number of processes.
    """
    for names in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")):
        if not all(name in environment for name in names):
            continue
        place = Place(*(int(environment[name]) for name in names))
        if place.world_size == 1 and names[0] == "SLURM_PROCID":
            return None  # one task that starts the others
        if place.world_size != devices * num_nodes:
            raise UserError(
                f"{names[1]} says that {place.world_size} processes were started, and --devices {devices} "
                f"--num-nodes {num_nodes} asks for {devices * num_nodes}; make them agree"
            )
        return place
    return None


def run_processes(work: Callable[[Place], None], devices: int, num_nodes: int = 1) -> list[str]:
    """Do the same work in one process for each device of this machine, and wait for all.

    Where one ends early, the others go on: they do not need it.

    Args:
        work: What to do at a place; a function of a module, or a `functools.partial` of one.
        devices: How many processes.
        num_nodes: How many machines run this; `NODE_RANK` of the environment says which of them this is.

    Returns:
        How each process ended that did not end well.

    Raises:
        ValueError: If nothing says which of several machines this is.
    """
    node = os.environ.get("NODE_RANK")
    if num_nodes > 1 and (node is None or not 0 <= int(node) < num_nodes):
        raise UserError(
            f"--num-nodes {num_nodes}: set NODE_RANK to the number of this machine, 0 to {num_nodes - 1}, and start "
            "the command on each; or start it by torchrun or srun, which say it themselves"
        )
    first = int(node or 0) * devices
    context = multiprocessing.get_context("spawn")
    processes: dict[int, SpawnProcess] = {}
    try:
        for local_rank in range(devices):
            place = Place(first + local_rank, devices * num_nodes, local_rank)
            process = context.Process(target=_work, args=(work, place, devices), name=f"process {place.rank}")
            process.start()
            processes[process.sentinel] = process
        running = dict(processes)
        while running:
            for sentinel in wait(list(running)):
                del running[sentinel]  # type: ignore[arg-type]  # of numbers alone
    finally:
        for process in processes.values():
            process.terminate()
            process.join()
    return [_ended(process) for process in processes.values() if process.exitcode]


def parent_is_gone() -> bool:
    """Tell whether the process that started this one by `run_processes` has ended; its work is then to end, too."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def device_of(place: Place, device: str | None) -> str:
    """Name the device of a place: its own accelerator, or the CPU.

    Raises:
        ValueError: If one device is named for all, or there are fewer.
    """
    kind = device or (accelerator.type if (accelerator := torch.accelerator.current_accelerator(True)) else "cpu")
    if kind == "cpu":
        return kind
    if ":" in kind:
        raise UserError(f"--device {device} is one device, and --devices asks for several; name its kind alone")
    if place.local_rank >= (count := torch.accelerator.device_count()):
        raise UserError(f"--devices asks for {place.local_rank + 1} of {kind} or more; this machine has {count}")
    return f"{kind}:{place.local_rank}"


def _work(work: Callable[[Place], None], place: Place, devices: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the process that started this one ends it
    torch.set_num_threads(max(1, torch.get_num_threads() // devices))  # of the processor, shared out
    try:
        work(place)
    except (ValueError, OSError) as error:
        print(f"process {place.rank}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _ended(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    return f"{process.name} " + (
        f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    )
