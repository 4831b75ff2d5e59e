"""Training in several processes each of which holds a part of the weights: PyTorch's FSDP2."""

from copy import deepcopy
from typing import Any

import torch.distributed
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from gpvit.errors import UserError

_TEMPLATE = "unsharded_template"


class FSDP2(ModelParallelStrategy):
    """Fully sharded data parallelism, `trainer.strategy: fsdp2`.

    Weights, gradients and the optimiser's state are divided among all processes, and each block's weights are put
    together when it runs. Checkpoints and weights are written whole, as with any other strategy, so that a run can be
    resumed with another number of processes.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Divide by all processes of all nodes."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Give all processes the same weights, and divide them.

        Raises:
            ValueError: If gradients would have to be scaled.
        """
        if trainer.precision == "16-mixed":
            raise UserError(
                "trainer.precision 16-mixed does not go with fsdp2: use bf16-mixed, or trainer.strategy ddp"
            )
        task: Any = self.lightning_module
        self.model_to_device()
        if self._layer_sync is not None:
            self.model = self._layer_sync.apply(task)
        for tensor in (*task.network.parameters(), *task.network.buffers()):
            torch.distributed.broadcast(tensor.data, 0)
        shard(task.network, self.device_mesh["data_parallel"])
        super().setup(trainer)


def shard(network: nn.Module, mesh: Any) -> None:
    """Divide a network's weights in place, block by block.

    Args:
        network: A model of the catalog, the same in all processes.
        mesh: The processes.
    """
    template = deepcopy(network).to("meta")
    for name, module in network.named_modules():
        if name.rpartition(".")[2] == "blocks":
            for block in module.children():
                fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    if hasattr(network, "forward_with_auxiliary"):
        register_fsdp_forward_method(network, "forward_with_auxiliary")
    network.__dict__[_TEMPLATE] = template  # no part of the network


def unsharded(network: nn.Module) -> nn.Module:
    """Return a copy of a network that whole weights can be loaded into, by `load_state_dict(..., assign=True)`.

    Args:
        network: Of a task, divided or not.
    """
    template: nn.Module = network.__dict__.get(_TEMPLATE, network)
    return deepcopy(template)


if "fsdp2" not in StrategyRegistry.available_strategies():
    StrategyRegistry.register("fsdp2", FSDP2, description="Fully sharded data parallelism, PyTorch's second version")
