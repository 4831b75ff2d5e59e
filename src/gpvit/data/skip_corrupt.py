"""Training that passes over a few damaged files, and stops at many."""

import warnings
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import torch
from torch.utils.data import Dataset

from gpvit.data.images import ImageError


class SkipCorrupt(Dataset[Any]):
    """A dataset where another sample, drawn at random, stands in for one that cannot be read.

    Each time, the file is named in a warning. What is wrong in another way, as a label that no class has, still stops
    the run at once: it would hardly be the only one.

    Args:
        dataset: What to read from; a damaged sample raises ImageError or OSError, with a message that names the file.
        limit: How often a sample may be passed over, by all worker processes together; 0 stops at the first.

    Raises:
        ImageError: A sample more than `limit` was damaged.
    """

    def __init__(self, dataset: Dataset[Any], limit: int) -> None:
        self.dataset = dataset
        self.limit = limit
        self._skipped = get_context("spawn").Value("i", 0)  # shared by worker processes, however they are started

    @property
    def skipped(self) -> int:
        """How often a sample was passed over until now."""
        return self._skipped.value

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        while True:
            try:
                return self.dataset[index]
            except (ImageError, OSError) as error:
                self._pass_over(error)
                index = int(torch.randint(len(self), ()))

    def name(self, index: int) -> str:
        """Name a sample, for messages: by the dataset's own `name`, if it has one."""
        own: Callable[[int], str] | None = getattr(self.dataset, "name", None)
        return own(index) if own else f"sample {index}"

    def _pass_over(self, error: Exception) -> None:
        with self._skipped.get_lock():
            if self._skipped.value >= self.limit:
                raise ImageError(
                    f"{error}\nBefore it, {self._skipped.value} damaged images were passed over, and no more may be: "
                    f"repair or remove the files named, or raise max_damaged above {self.limit}"
                ) from error
            self._skipped.value += 1
            count = self._skipped.value
        warnings.warn(f"passed over, {count} of at most {self.limit}: {error}", stacklevel=3)
