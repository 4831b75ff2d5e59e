"""Loaders of a run: of seeded batches that may begin in the middle of an epoch, and of a share of the validation."""

import atexit
import signal
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader, Dataset, DistributedSampler

from gpvit.data.samplers import EpochBatches, Seeded, seeded_generator
from gpvit.errors import UserError


class Loader(DataLoader[Any]):
    """A DataLoader whose worker processes outlive what asks all processes of a run to stop: training ends a step first.

    Args:
        dataset: What to load from.
        **options: More arguments of a DataLoader.
    """

    def __init__(self, dataset: Dataset[Any], **options: Any) -> None:
        super().__init__(dataset, worker_init_fn=_outlive_signals, **options)

    def _get_iterator(self) -> Any:
        iterator = super()._get_iterator()
        if self.num_workers > 0:
            # Python's end would wait for the processes of a pass that nothing ended, as a signal no longer ends them.
            atexit.register(_end, weakref.ref(iterator))
        return iterator


class TrainingLoader(Loader):
    """Loads the batches that `batches` lists, from samples that are varied by their seed alone.

    Worker processes start, and read ahead, when the first batch of a pass is asked for: until then `batches` may be
    told where to begin. Nothing is drawn from the global random state.

    Args:
        samples: Samples by `(epoch, index)`.
        batches: Which of them make a batch.
        num_workers: Loader processes; 0 loads in the training process.
        **options: More arguments of a DataLoader.
    """

    dataset: Seeded
    batch_sampler: EpochBatches

    def __init__(self, samples: Seeded, batches: EpochBatches, num_workers: int, **options: Any) -> None:
        generator = seeded_generator(samples.seed, batches.rank)
        super().__init__(
            samples,
            batch_sampler=batches,
            collate_fn=samples.collate,
            num_workers=num_workers,
            generator=generator,
            **options,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()  # a generator runs no line before it is asked for the first batch

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass loads."""
        self.batch_sampler.set_epoch(epoch)

    def skip(self, batches: int) -> None:
        """Leave the first batches out of the next pass, and of that alone."""
        self.batch_sampler.skip(batches)

    def state_dict(self) -> dict[str, Any]:
        """Say what the order of this run depends on; how far it came is known by who asks for batches."""
        return {"seed": self.dataset.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what another run would have loaded; workers must not have started."""
        self.dataset.seed = self.batch_sampler.order.seed = state["seed"]


class Share(DistributedSampler[int]):
    """The part of a dataset that one of several processes evaluates: every so many-th image, none twice.

    That of torch gives some images to two processes, so that all have equally many; scores would count them twice.

    Args:
        dataset: What is shared.
        num_replicas: Number of processes.
        rank: Number of this process.

    Raises:
        ValueError: There are fewer images than processes.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle=False)
        self._indices = range(rank, len(dataset), num_replicas)  # type: ignore[arg-type]
        if not self._indices:
            raise UserError(f"fewer validation images than the {num_replicas} processes, which need one each")

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def _outlive_signals(worker: int) -> None:
    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one comes from a training process that ends

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, once)


def _end(iterator: weakref.ref[Any]) -> None:
    if (found := iterator()) is not None:
        found._shutdown_workers()
