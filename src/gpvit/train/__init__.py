"""How a run runs: recipes, the training loop, checkpoints, logs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ema": ["ModelEMA"],
        "recipes": ["train_recipe"],
        "trainer": ["build_trainer"],
        "training": ["fit"],
        "weights": ["WeightsWriter"],
    },
)
