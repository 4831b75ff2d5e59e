"""Training order by aspect ratio: wide images in one batch, tall ones in another, so that little is padding."""

import numpy as np
import torch

from gpvit.data.samplers import EpochOrder, seeded_generator


class AspectRatioOrder(EpochOrder):
    """Every batch holds wide images or tall ones only, in random order, anew each epoch.

    What does not fill the last batch of a shape is mixed with the rest of the other shape; what is left then, fewer
    images than one batch, comes last.

    Args:
        sizes: Height and width of each image, `(N, 2)`.
        batch_size: Images per batch and process.
    """

    def __init__(self, sizes: np.ndarray, batch_size: int) -> None:
        super().__init__(len(sizes))
        self.batch_size = batch_size
        self._is_wide = torch.from_numpy(np.ascontiguousarray(sizes[:, 1] > sizes[:, 0]))

    def indices(self, seed: int, epoch: int) -> torch.Tensor:
        """Give the batches, shuffled, one after the other."""
        generator = seeded_generator(seed, epoch)
        order = torch.randperm(len(self), generator=generator)
        wide, tall = (self._batches(order[self._is_wide[order] == is_wide]) for is_wide in (True, False))
        mixed = self._batches(torch.cat([wide[1], tall[1]]))
        batches = torch.cat([wide[0], tall[0], mixed[0]])
        batches = batches[torch.randperm(len(batches), generator=generator)]
        return torch.cat([batches.flatten(), mixed[1]])

    def _batches(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split indices into full batches, `(N, batch_size)`, and the rest."""
        full = len(indices) // self.batch_size * self.batch_size
        return indices[:full].view(-1, self.batch_size), indices[full:]
