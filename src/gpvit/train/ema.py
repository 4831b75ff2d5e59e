"""An exponential moving average of the weights (EMA), kept beside those that are trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class ModelEMA:
    """Averages a network's weights over the steps of a run; training does not notice.

    After n updates the decay is at most `(1 + n) / (10 + n)`, so that the average soon forgets the random weights that
    it starts from. Floating-point buffers, such as the statistics of batch norms, are averaged too; counts are copied.

    Args:
        network: What is trained, where it is trained: the average takes the memory of one more network.
        decay: Part of the average that an update keeps; 0.9998 forgets half in about 3,500 steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.updates = 0
        self.average = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network's weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = list(zip(self.average.values(), self.network.state_dict().values(), strict=True))
        moved = [pair for pair in pairs if pair[0].is_floating_point()]
        get_ema_multi_avg_fn(decay)([old for old, _ in moved], [new for _, new in moved], 0)
        for count, new in pairs:
            if not count.is_floating_point():
                count.copy_(new)

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Have the network hold the average for a while, to score or write it."""
        trained = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.network.load_state_dict(trained)

    def load(self, average: dict[str, Tensor], updates: int) -> None:
        """Take over the average that a checkpoint kept."""
        self.updates = updates
        for name, tensor in self.average.items():
            tensor.copy_(average[name])
