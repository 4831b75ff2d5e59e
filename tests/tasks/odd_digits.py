"""Digits with something wrong."""

import time
from typing import Any

import torch

from gpvit.data import Digits


class OddDigits(Digits):
    """Digits that a class path can name.

    Args:
        odd: What is wrong: `slow` to load, all of `one_class`, of one colour (`blank`), or `not_finite`.
    """

    def __init__(self, odd: str):
        super().__init__(image_size=32, batch_size=4)
        self.odd = odd
        self.train_collate = self.collate

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        images, labels = self.train_set.tensors
        if self.odd == "one_class":
            labels.fill_(3)
        elif self.odd in ("blank", "not_finite"):
            images.fill_(0.0 if self.odd == "blank" else torch.nan)

    def collate(self, samples: list[Any]) -> Any:
        if self.odd == "slow":
            time.sleep(0.3)
        return torch.utils.data.default_collate(samples)
