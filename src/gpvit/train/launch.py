"""Devices, processes and precision of a run, by Lightning Fabric."""

import logging
import os
import warnings
from typing import Any

import torch
import torch.distributed
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException

from gpvit.errors import UserError
from gpvit.train.config import TrainConfig


class Autocast(MixedPrecision):
    """Mixed precision by autocast alone: Fabric's own also rounds inputs, and so boxes to some pixels."""

    def convert_input(self, data: Any) -> Any:
        """Leave the inputs as they are."""
        return data


def launch(config: TrainConfig) -> Fabric:
    """Start the processes of a run, one for each device; the numbers of torchrun and SLURM go before the settings.

    Raises:
        UserError: If there are no such devices, or no such precision.
    """
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "Grad strides do not match|`broadcast_buffers` is deprecated")  # beside the point
    has_accelerator = config.accelerator != "cpu" and torch.accelerator.is_available()
    devices: Any = config.devices
    nodes = config.nodes
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif SLURMEnvironment.detect():
        devices = int(os.environ.get("SLURM_NTASKS_PER_NODE", 0)) or devices
        nodes = int(os.environ.get("SLURM_NNODES", nodes))
    if devices == "auto":
        devices = torch.accelerator.device_count() if has_accelerator else 1
    options: dict[str, Any] = {"precision": config.precision}
    if config.precision in ("16-mixed", "bf16-mixed"):
        device = str(torch.accelerator.current_accelerator()) if has_accelerator else "cpu"
        mixed: Any = "bf16-mixed" if device == "cpu" else config.precision  # a CPU has no fast float16
        options = {"plugins": [Autocast(mixed, device)]}
    # Each process keeps its own buffers between validations; sending them at every step would be one more collective.
    strategy = DDPStrategy(broadcast_buffers=False) if devices * nodes > 1 else "auto"
    try:
        fabric = Fabric(accelerator=config.accelerator, devices=devices, num_nodes=nodes, strategy=strategy, **options)
        fabric.launch()
    except (MisconfigurationException, ValueError) as error:
        raise UserError(f"train.accelerator {config.accelerator}, devices {devices}, nodes {nodes}: {error}") from error
    return fabric


def gather(fabric: Fabric, value: Any) -> list[Any]:
    """Give the values of all processes, in their order; all must call it, and wait for each other."""
    values = [value] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values
