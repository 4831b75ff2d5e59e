"""Processes that train together end together, whatever ends one of them."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from subprocess import Popen

from lightning import Callback, LightningModule, Trainer

from gpvit.train.failures import how_to_go_on

_STARTER = "GPVIT_STARTER"  # environment variable: the process that starts the others of this machine
_PERIOD_S = 0.5
_GRACE_S = 3.0  # for a process to end with a message of its own
_ORDERLY = (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # running, done, or stopped after a checkpoint


class CompanionWatch(Callback):
    """Ends a process whose companions on this machine are gone, with a message.

    A process waits for the others at every step. Where the network tells it that one is gone, it ends with an error;
    where it does not, as for NCCL in the middle of a step, it would wait for many minutes. This watches the processes
    that Lightning starts by itself; torchrun does the same for its own, and `srun --kill-on-bad-exit=1`.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        if "LOCAL_RANK" not in os.environ:  # nothing but this process starts others
            os.environ[_STARTER] = str(os.getpid())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start to watch, where there is anyone to be watched."""
        children: Sequence[Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", ())
        parent = os.getppid() if os.environ.get(_STARTER) == str(os.getppid()) else None
        if trainer.world_size > 1 and (children or parent):
            self._over.clear()
            arguments = (children, parent, how_to_go_on(trainer))
            threading.Thread(target=self._watch, args=arguments, daemon=True, name="companion-watch").start()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Watch no longer: this process ends by itself."""
        self._over.set()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch no longer: the others may end before this process does."""
        self._over.set()

    def _watch(self, children: Sequence["Popen[bytes]"], parent: int | None, advice: str) -> None:
        while not self._over.wait(_PERIOD_S):
            lost = next((_ended(child) for child in children if child.poll() not in _ORDERLY), None)
            if parent is not None and os.getppid() != parent:
                lost = f"process {parent}, which started this one,"
            if lost is None:
                continue
            # at once, as Lightning kills this process some seconds after another, without a word
            print(f"gpvit train: {lost} is gone, so this one ends, too. {advice}", file=sys.stderr, flush=True)
            if not self._over.wait(_GRACE_S):
                for child in children:
                    child.kill()
                os._exit(1)  # it waits for the other, which no exception gets it out of
            return


def _ended(child: "Popen[bytes]") -> str:
    code = child.returncode
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"process {child.pid} of this run ({how})"
