"""Model, loss, optimiser and metric together: what a training step and an evaluation mean."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classification": ["ClassificationTask"],
        "detection": ["DetectionTask"],
        "optim": ["OptimConfig"],
        "segmentation": ["SegmentationTask"],
    },
)
