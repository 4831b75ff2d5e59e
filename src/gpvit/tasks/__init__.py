"""Model, loss, optimiser and metric together: what a training step and an evaluation mean."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "averaging": ["AveragedWeights"],
        "classification": ["ClassificationTask"],
        "detection": ["DetectionTask"],
        "evaluation": ["evaluate_classifier", "evaluate_detector", "evaluate_segmenter"],
        "recipes": ["train_recipe"],
        "segmentation": ["SegmentationTask"],
        "trainer": ["build_trainer"],
        "training": ["fit"],
        "weights": ["WeightsWriter"],
    },
)
