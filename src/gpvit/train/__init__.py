"""How a run runs: recipes, the training loop, checkpoints, logs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"config": ["TrainConfig"], "loop": ["fit"], "recipes": ["train_recipe"]},
)
