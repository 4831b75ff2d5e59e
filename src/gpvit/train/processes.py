"""Processes of a run: how they start, what they agree on while they train, and how a signal ends them."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from gpvit.errors import UserError
from gpvit.train.config import TrainConfig


class Autocast(MixedPrecision):
    """Mixed precision by autocast alone: Fabric's own also rounds inputs, and so boxes to some pixels."""

    def convert_input(self, data: Any) -> Any:
        """Leave the inputs as they are."""
        return data


def launch(config: TrainConfig) -> Fabric:
    """Start the processes of a run, one for each device; the numbers of torchrun and SLURM go before the settings."""
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "Grad strides do not match|`broadcast_buffers` is deprecated")  # beside the point
    has_accelerator = config.accelerator != "cpu" and torch.accelerator.is_available()
    devices: Any = config.devices
    nodes = config.nodes
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif SLURMEnvironment.detect():
        devices = int(os.environ.get("SLURM_NTASKS_PER_NODE", 0)) or devices
        nodes = int(os.environ.get("SLURM_NNODES", nodes))
    if devices == "auto":
        devices = torch.accelerator.device_count() if has_accelerator else 1
    options: dict[str, Any] = {"precision": config.precision}
    if config.precision in ("16-mixed", "bf16-mixed"):
        device = str(torch.accelerator.current_accelerator()) if has_accelerator else "cpu"
        mixed: Any = "bf16-mixed" if device == "cpu" else config.precision  # a CPU has no fast float16
        options = {"plugins": [Autocast(mixed, device)]}
    # Each process keeps its own buffers between validations; sending them at every step would be one more collective.
    strategy = DDPStrategy(broadcast_buffers=False) if devices * nodes > 1 else "auto"
    try:
        fabric = Fabric(accelerator=config.accelerator, devices=devices, num_nodes=nodes, strategy=strategy, **options)
    except (MisconfigurationException, ModuleNotFoundError, RuntimeError, ValueError) as error:
        raise UserError(f"train.accelerator {config.accelerator}, devices {devices}, nodes {nodes}: {error}") from error
    fabric.launch()
    return fabric


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """Give the values of all processes, in their order; all must call it, and wait for each other."""
    values = [value] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Note SIGTERM, which clusters send before they stop a job, and SIGINT (Ctrl-C), in a list for the loop to look at.

    A second SIGINT ends the process at once, whatever it waits for.
    """
    noted: list[int] = []

    def note(number: int, _: Any) -> None:
        noted.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # no handler of Python's runs within a collective

    is_main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)} if is_main else {}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StepFlags:
    """Lets all processes know whether one has a loss that is not finite, and whether one is asked to stop.

    Both travel in one small reduction that nothing waits for: what is sent at one step is read at the next, when it has
    long arrived. A single process reduces nothing.
    """

    def __init__(self, fabric: Fabric, noted: list[int]) -> None:
        self.noted = noted
        self.several = fabric.world_size > 1
        self._none = torch.zeros((), device=fabric.device)
        self._sent: tuple[Tensor, Callable[[], Any]] | None = None
        self._agreed = 0

    @property
    def stop(self) -> int:
        """The signal that asks the run to stop, the same in all processes; 0 for none."""
        return self._agreed if self.several else max(self.noted, default=0)

    def send(self, bad: Tensor | None = None) -> None:
        """Send this process's flags, `bad` for a loss `()` that is not finite; all must do so at the same place."""
        flags = torch.stack([self._none if bad is None else bad.float(), self._none + max(self.noted, default=0)])
        wait: Any = lambda: None  # noqa: E731
        if self.several:
            wait = torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, async_op=True).wait
        if flags.is_cuda:
            wait()  # the GPU does, not this process
            flags = flags.to("cpu", non_blocking=True)
            wait = torch.cuda.current_stream().record_event().synchronize
        self._sent = flags, wait

    def read(self) -> bool:
        """Tell whether a loss was not finite in what was sent last; what was read already is no longer."""
        if self._sent is None:
            return False
        flags, wait = self._sent
        wait()
        self._sent = None
        bad, self._agreed = (int(flag) for flag in flags.tolist())
        return bad > 0


class Interrupted(SystemExit):
    """Ends a run that saved itself; its exit code is that of a program which the signal ended."""


def interrupt(fabric: Fabric, number: int, folder: Path, step: int) -> NoReturn:
    """End this process as a signal asks, with exit code 128 + N as shells have it, and say how to resume."""
    if fabric.is_global_zero:
        kept = f"{folder} is saved after step {step}" if step else "nothing was learned yet"
        message = f"stopped by {signal.Signals(number).name}: {kept}. gpvit train --resume {folder} continues"
        print(message, file=sys.stderr, flush=True)
    fabric.barrier()  # the end of another process must not be that of the one which saves
    environment = getattr(fabric.strategy, "cluster_environment", None)
    is_child = isinstance(environment, LightningEnvironment) and fabric.local_rank > 0
    raise Interrupted(0 if is_child else 128 + number)  # the parent takes any code but 0 of a child for its crash
