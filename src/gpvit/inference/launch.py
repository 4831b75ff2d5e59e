"""Predicts with one process for each device of this machine, none of which needs another."""

import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import torch
from torch import multiprocessing

from gpvit.errors import UserError
from gpvit.inference.batch import BatchPredictor, Plan
from gpvit.inference.inputs import Images
from gpvit.inference.job import Job
from gpvit.plugins import import_plugins

_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # SLURM's numbers of steps that srun did not start: a batch script, a shell


class Place(NamedTuple):
    """Where a process stands among all: its rank, their number, and the number of its device."""

    rank: int
    world_size: int
    local_rank: int


def open_job(plan: Plan, images: Images) -> Job:
    """Open the folder of a plan's predictions; refuses one that holds those of other images or settings."""
    return Job(plan.out or "", plan.settings(), images.names)


def report_error(line: dict[str, Any]) -> None:
    """Print why an image has no result, if it has none."""
    if "error" in line:
        print(f"gpvit predict: {line['error']}", file=sys.stderr, flush=True)


def given_place(devices: int, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Read the place that torchrun or srun gave this process, one of `devices` here; None if neither started it."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        started = int(environment.get("LOCAL_WORLD_SIZE", devices))
        if started != devices:
            raise UserError(f"torchrun started {started} processes here, and --devices says {devices}; make them agree")
        return Place(*(int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    # in a batch script, too, SLURM_PROCID is set, though one process alone runs there
    if int(environment.get("SLURM_STEP_ID", _FIRST_SPECIAL_STEP)) < _FIRST_SPECIAL_STEP:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        place = Place(*(int(environment[name]) for name in names))
        return place if place.world_size > 1 else None  # one task starts a process for each device itself
    return None


def predict_on_devices(plan: Plan, devices: int, images: Images) -> list[str]:
    """Predict what is left of a job, in one process for each device of this machine, and wait for all of them.

    Where one ends early, the others go on. A process that torchrun or srun started predicts its own part alone.
    Returns how each process ended that failed.
    """
    open_job(plan, images)  # refuses other settings before processes start
    if (place := given_place(devices)) is not None:
        _predict_part(plan, place, devices)
        return []
    context = multiprocessing.get_context("spawn")
    processes = []
    try:
        for rank in range(devices):
            place = Place(rank, devices, rank)
            processes.append(context.Process(target=_work, args=(plan, place, devices), name=f"process {rank}"))
            processes[-1].start()
        while running := [process.sentinel for process in processes if process.exitcode is None]:
            wait(running)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return [
        f"{each.name} " + (f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}")
        for each in processes
        if (code := each.exitcode)
    ]


def _work(plan: Plan, place: Place, devices: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the process that started this one ends it
    torch.set_num_threads(max(1, torch.get_num_threads() // devices))  # of the processor, shared out
    try:
        import_plugins()
        _predict_part(plan, place, devices)
    except (UserError, OSError) as error:
        print(f"process {place.rank}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _predict_part(plan: Plan, place: Place, devices: int) -> None:
    images = Images(plan.images)
    job = open_job(plan, images)
    indices = job.remaining(place.rank, place.world_size)
    if not indices:
        return
    predictor = BatchPredictor(plan, _device_of(place, plan.device), images)
    parent = multiprocessing.parent_process()
    with job.writer(place.rank) as write:
        for answer in predictor.answers(indices, devices):
            report_error(answer.line)
            write(answer.line)
            if parent is not None and not parent.is_alive():
                return


def _device_of(place: Place, device: str | None) -> str:
    """Name the device of a place: its own accelerator, or the CPU."""
    kind = device or (accelerator.type if (accelerator := torch.accelerator.current_accelerator(True)) else "cpu")
    if kind == "cpu":
        return kind
    if ":" in kind:
        raise UserError(f"--device {device} is one device, and --devices asks for several; name its kind alone")
    if place.local_rank >= (count := torch.accelerator.device_count()):
        raise UserError(f"--devices asks for {place.local_rank + 1} of {kind} or more; this machine has {count}")
    return f"{kind}:{place.local_rank}"
