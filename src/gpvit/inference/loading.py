"""Decodes and prepares images ahead of the network, in worker processes whose death costs one image at most."""

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from gpvit.errors import UserError
from gpvit.inference.results.base import Failure
from gpvit.runtime.images import ImageError, ImageSource, read_image


class Loaded(NamedTuple):
    """A decoded image: the source as it was given, pixels ``(height, width, 3)``, uint8, and what the network needs.

    The pixels are None where results need not draw them.
    """

    source: Any
    pixels: np.ndarray | None
    inputs: Any


Batch = list[Loaded | Failure]


@dataclass(frozen=True)
class ImageLoader(Dataset[Loaded | Failure]):
    """Loads an image by its source; an image that cannot be read is a `Failure`, and stops nothing.

    Args:
        prepare: Turns an RGB image into what the network needs.
        find: Gives the image for a source that is none itself, such as its index.
    """

    prepare: Callable[[Image.Image], Any]
    read: Callable[[ImageSource], Image.Image] = read_image
    find: Callable[[Any], ImageSource] | None = None
    keep_pixels: bool = True

    def __getitem__(self, source: Any) -> Loaded | Failure:
        try:
            image = self.read(source if self.find is None else self.find(source))
            return Loaded(source, np.array(image) if self.keep_pixels else None, self.prepare(image))
        except (UserError, OSError, TypeError, MemoryError) as error:
            return Failure(source, error)
        except Exception as error:  # of a kind that might not survive the way to another process
            return Failure(source, ImageError(f"{type(error).__name__}: {error}"))


_DEAD = "DataLoader worker"  # begins PyTorch's message that one was killed


def in_batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cut any iterable into lists of a size, the last perhaps shorter, without looking ahead."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def load_batches(
    loader: ImageLoader, batches: Iterable[list[Any]], workers: int = 0, pin_memory: bool = False
) -> Iterator[Batch]:
    """Load batches, lists of sources, in their order; worker processes read some ahead, and without any none is.

    Tensors may go to pinned memory, from which copies to a GPU are faster.
    """
    if workers == 0:
        for batch in batches:
            yield [loader[source] for source in batch]
        return
    yield from _load_by_workers(loader, iter(batches), workers, pin_memory)


def _load_by_workers(
    loader: ImageLoader, batches: Iterator[list[Any]], workers: int, pin_memory: bool, singly: bool = False
) -> Generator[Batch, None, None]:
    """Load batches; where a worker dies, load what was handed out singly, and continue with fresh workers.

    Singly, one worker has one batch of one image at a time, so that it is known which one killed it.
    """
    waiting: deque[list[Any]] = deque()  # handed out, and not yet received

    def hand_out() -> Iterator[list[Any]]:
        for batch in batches:
            waiting.append(batch)
            yield batch

    while True:
        loaded_batches: DataLoader[Any] = DataLoader(
            loader,
            batch_sampler=hand_out(),  # of sources, which the loader takes as indices
            num_workers=workers,
            collate_fn=_collated,
            pin_memory=pin_memory,
            prefetch_factor=1 if singly else 2,
            generator=torch.Generator(),  # nothing is drawn from the global one
        )
        received = iter(loaded_batches)
        try:
            with _deaths_told_in_turn():
                for loaded in received:
                    yield _received(waiting.popleft(), *loaded)
            return
        except RuntimeError as error:
            if _DEAD not in str(error):
                raise
        if singly:
            (source,) = waiting.popleft()
            reason = "the process that decoded it was killed; it is damaged, or too large for the memory"
            yield [Failure(source, ImageError(reason))]
        else:
            singles = [[source] for batch in waiting for source in batch]
            waiting.clear()
            yield from _load_by_workers(loader, iter(singles), 1, pin_memory, singly=True)


@contextmanager
def _deaths_told_in_turn() -> Iterator[None]:
    """Have PyTorch tell the death of a loader's worker where that loader is asked for a batch, as other threads do.

    In the main thread it would raise that error from a signal handler, wherever the program is.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


def _collated(batch: Batch) -> tuple[list[Any], torch.Tensor | None]:
    """Make a batch cheap to send: sources stay behind, and inputs of equal shape, which cost time each, are stacked."""
    inputs = [each.inputs for each in batch if isinstance(each, Loaded)]
    alike = bool(inputs) and all(isinstance(each, torch.Tensor) and each.shape == inputs[0].shape for each in inputs)
    sent: list[Any] = []
    for each in batch:
        if isinstance(each, Loaded):
            pixels = None if each.pixels is None else torch.from_numpy(each.pixels)
            sent.append((pixels, None if alike else each.inputs))
        else:
            sent.append(each.error)
    return sent, torch.stack(inputs) if alike else None


def _received(sources: list[Any], sent: list[Any], stacked: torch.Tensor | None) -> Batch:
    """Undo `_collated`; pixels leave the shared memory, whose files are few."""
    rows = iter(() if stacked is None else stacked)
    batch: Batch = []
    for source, each in zip(sources, sent, strict=True):
        if isinstance(each, Exception):
            batch.append(Failure(source, each))
        else:
            pixels, inputs = each
            pixels = None if pixels is None else pixels.clone().numpy()
            batch.append(Loaded(source, pixels, inputs if stacked is None else next(rows)))
    return batch
