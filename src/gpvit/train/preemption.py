"""Stopping in an orderly way when a signal asks for it."""

import signal
import sys
import threading
from types import FrameType

from lightning import Trainer


class Interrupted(SystemExit):
    """Ends a run that saved itself; its exit code is that of a program which the signal ended.

    Args:
        number: Of the signal.
        reports: Whether this process tells the code. The others end with 0, or Lightning would take them for failures.
    """

    def __init__(self, number: int, reports: bool = True) -> None:
        super().__init__(128 + number if reports else 0)


class Interruption:
    """Notes SIGTERM, which clusters send before they stop a job, and SIGINT, for training to look at.

    A second SIGINT stops at once. What Lightning would do at SIGTERM is left out: it ends within a step, and talks to
    the other processes while they talk to each other. SIGUSR1, by which SLURM requeues a job, stays Lightning's.

    Attributes:
        number: Of the signal that was noted; 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._trainer: Trainer | None = None

    def watch(self, trainer: Trainer) -> None:
        """Take the two signals over; the Trainer gives them back when it ends."""
        self.number = 0
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)
            signal.signal(signal.SIGINT, self._note)

    def agreed(self, trainer: Trainer) -> bool:
        """Tell whether any process of the run is to stop; all of them must ask at the same place."""
        noted = self.number > 0
        return noted if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(noted, all=False)

    def stop(self, trainer: Trainer, saved: str) -> None:
        """End this process, and say how to go on.

        Args:
            trainer: Of the run.
            saved: What is kept, for the message.

        Raises:
            Interrupted: Always.
        """
        number = self.number or signal.SIGTERM
        name = signal.Signals(number).name
        if trainer.is_global_zero:
            print(f"stopped by {name}: {saved}. Give the same command with --resume to go on", file=sys.stderr)
        raise Interrupted(number, reports=trainer.is_global_zero)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            raise KeyboardInterrupt
        first = not self.number
        self.number = number
        launcher = self._trainer.strategy.launcher if self._trainer else None
        if first and launcher is not None:
            launcher.kill(signal.SIGTERM)  # to the processes that this one started
