"""A dataset that replaces a few damaged files by others, and stops at many."""

import warnings
from typing import Any

import torch
from torch.utils.data import Dataset

from gpvit.runtime.images import ImageError


class SkipCorrupt(Dataset[Any]):
    """A dataset where another sample, drawn at random, stands in for one that raises ImageError or OSError.

    Each time, a warning names the file; once all worker processes together have replaced `limit`, ImageError ends it.
    Other mistakes, such as a label of no class, stop the run at once: such a mistake is hardly the only one.
    """

    def __init__(self, dataset: Dataset[Any], limit: int) -> None:
        self.dataset = dataset
        self.limit = limit
        self.name = getattr(dataset, "name", "sample {}".format)  # what messages call a sample
        self._skipped = torch.zeros((), dtype=torch.int64).share_memory_()  # with worker processes, however started

    @property
    def skipped(self) -> int:
        """How often a sample was replaced until now."""
        return int(self._skipped)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        while True:
            try:
                return self.dataset[index]
            except (ImageError, OSError) as error:
                if self.skipped >= self.limit:
                    raise ImageError(
                        f"{error}\nBefore it, {self.skipped} damaged images were skipped, and no more may be: "
                        f"repair or remove the files named, or raise max_damaged above {self.limit}"
                    ) from error
                self._skipped += 1
                warnings.warn(f"skipped, {self.skipped} of at most {self.limit}: {error}", stacklevel=2)
                index = int(torch.randint(len(self), ()))
