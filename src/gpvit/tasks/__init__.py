"""Model, loss, optimiser and metric together: what a training step and an evaluation mean."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ClassificationTask": ".classification",
        "DetectionTask": ".detection",
        "OptimConfig": ".optim",
        "SegmentationTask": ".segmentation",
    },
)
