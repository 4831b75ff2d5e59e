"""How a run runs: recipes, the training loop, checkpoints, logs."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "TrainConfig": ".config",
        "fit": ".loop",
        "train_recipe": ".recipes",
    },
)
