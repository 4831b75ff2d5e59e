"""What all tasks share: a network for the data, an optimiser with its schedule, and what a Trainer logs."""

import math
from typing import Any, ClassVar

from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpvit.devices import require_compiler
from gpvit.errors import UserError
from gpvit.tasks.optim import OptimConfig, create_optimizer
from gpvit.tasks.param_groups import freeze
from gpvit.zoo.build import check_arguments
from gpvit.zoo.catalog import find
from gpvit.zoo.factory import create_model

# Of segmenters and detectors, which training does not call as one function of a tensor, every part that is one; of
# classifiers, which have none of these, the whole.
_COMPILED_PARTS = ("backbone", "decoder", "auxiliary")


class Task(LightningModule):
    """Trains a model of the catalog, under `gpvit train` or any `lightning.Trainer`.

    `name`, `weights`, `backbone_weights` and the arguments of the model are as of the tasks.

    Args:
        optim: Optimiser and schedule; None takes `default_optim`.
        grad_checkpointing: Keep only each block's input for the backward pass and compute the rest again, for less
            memory and more time.
        compile: Have torch.compile make kernels for the network, which takes minutes at first and a C++ compiler.

    Attributes:
        best_metric: The metric that tells the best weights; higher is better.
        default_optim: The settings of the released training.
        sync_batch_norm: Whether batch norms see the batches of all processes, on GPUs.
        network: What is trained; it exists after `build`.

    Raises:
        UserError: If the model is unknown or for another task, or has no such argument; the nearest is proposed.

    Example:
        >>> task = ClassificationTask("gpvit_nano", optim=OptimConfig(lr=3e-4), drop_path_rate=0.1)
        >>> lightning.Trainer(max_epochs=3, callbacks=[MyCallback()]).fit(task, datamodule=gpvit.data.Digits())
        >>> gpvit.save(task.network, "digits.safetensors")
    """

    kind: ClassVar[str]  # the task, as the catalog calls it
    best_metric: str
    default_optim: ClassVar[OptimConfig]
    sync_batch_norm: bool = False
    logged: tuple[str, ...]  # names of the scores that validation gives
    network: nn.Module
    val_scores: Any

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        backbone_weights: str | None = None,
        *,
        optim: OptimConfig | None = None,
        grad_checkpointing: bool = False,
        compile: bool = False,
        **model_kwargs: Any,
    ) -> None:
        super().__init__()
        entry = find(name.partition(".")[0])
        if entry.task != self.kind:
            raise UserError(
                f"{name} is a model for {entry.task}, not for {self.kind}; `gpvit models` lists those that are"
            )
        check_arguments(entry, model_kwargs)
        self.name, self.weights, self.backbone_weights = name, weights, backbone_weights
        self.optim = optim or self.default_optim
        self.grad_checkpointing, self.compiles = grad_checkpointing, compile
        self.model_kwargs = model_kwargs

    def build(self, data: Any) -> None:
        """Create the network for the data, frozen and compiled as the settings say, and the metrics, once.

        Args:
            data: A data module, which knows its classes, and the channels and sizes of images, before it is set up.

        Raises:
            UserError: If an argument is given that the data decide, or the model does not suit them.
        """
        if hasattr(self, "network"):
            return
        decided = self.adapt(data)
        if stated_twice := sorted(decided.keys() & self.model_kwargs.keys()):
            raise UserError(f"leave out {', '.join(stated_twice)} of the model: the data decide that")
        weights = {"weights": self.weights, "backbone_weights": self.backbone_weights}
        network: Any = create_model(self.name, **weights, new_head=True, **decided, **self.model_kwargs)
        if self.grad_checkpointing:
            network.set_grad_checkpointing()
        if self.compiles:
            require_compiler()
            parts = [part for name in _COMPILED_PARTS if (part := getattr(network, name, None)) is not None]
            for part in parts or [network]:
                part.compile()  # when it first runs; names and values of its weights stay
        freeze(network, self.optim.freeze, is_trained="." in self.name or any(weights.values()))
        self.network = network

    def adapt(self, data: Any) -> dict[str, Any]:
        """Create the metrics, and return the arguments of the model that the data decide."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Build the network for a Trainer's data module."""
        self.build(self.trainer.datamodule)  # type: ignore[attr-defined]

    def forward(self, images: Tensor) -> Tensor:
        """Compute the network's logits of images `(B, C, H, W)`."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Compute the losses of a batch: `loss`, which has a graph, and perhaps parts of it, which have none."""
        raise NotImplementedError

    def validation_metrics(self) -> dict[str, float]:
        """Compute the metrics of all validation batches since the last call, by name, such as `val/top1`.

        All processes must call it together, and all get the same.
        """
        scores = self.val_scores.compute()
        self.val_scores.reset()
        return {f"val/{name}": float(scores[name]) for name in self.logged if name in scores}

    def create_optimizer(self, **sizes: Any) -> tuple[Optimizer, LambdaLR]:
        """Create the optimiser and its schedule for a run of the `sizes` that `tasks.optim.create_optimizer` takes."""
        return create_optimizer(self.network, self.optim, **sizes)

    def configure_optimizers(self) -> Any:
        """Create the optimiser and its schedule for a Trainer, whose run must have an end."""
        trainer: Any = self.trainer
        trainer.fit_loop.setup_data()  # counts the batches
        if math.isinf(trainer.estimated_stepping_batches):
            raise UserError("the schedule needs an end: set max_epochs or max_steps of the Trainer")
        accumulated = trainer.accumulate_grad_batches
        optimizer, scheduler = self.create_optimizer(
            total_steps=int(trainer.estimated_stepping_batches),
            epoch_steps=math.ceil(trainer.num_training_batches / accumulated),  # the last ones make a step, however few
            images_per_step=trainer.datamodule.batch_size * trainer.world_size * accumulated,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the losses of a step under a Trainer, such as `train/loss`."""
        divided = self.trainer.accumulate_grad_batches  # Lightning has divided the loss, and it alone
        losses = {f"train/{name}": loss * (divided if name == "loss" else 1) for name, loss in outputs.items()}
        self.log_dict(losses, on_step=False, on_epoch=True, batch_size=len(batch[0]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the validation under a Trainer."""
        self.log_dict(self.validation_metrics(), prog_bar=True, sync_dist=True)
