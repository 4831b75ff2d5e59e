"""How good a classifier is."""

import torch
import torch.nn.functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class ClassificationScores(MetricCollection):
    """Accuracy and mean cross-entropy, over all images alike, and the mean over the classes of each one's accuracy.

    `compute` gives `top1`, for more than five classes `top5`, `mean_class_accuracy` and `loss`.

    Args:
        num_classes: How many classes there are.
    """

    def __init__(self, num_classes: int) -> None:
        ranks = (1, 5) if num_classes > 5 else (1,)
        scores = {f"top{k}": MulticlassAccuracy(num_classes, top_k=k, average="micro") for k in ranks}
        scores["mean_class_accuracy"] = MulticlassAccuracy(num_classes, average="macro")
        # torchmetrics would merge metrics that agree on the first batch: top-1 and top-5 do when it is all right.
        super().__init__({**scores, "loss": _CrossEntropy()}, compute_groups=False)

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:  # type: ignore[override]
        """Take logits `(B, K)` and labels `(B,)`, on any device."""
        super().update(logits, labels.to(logits.device))

    def compute(self) -> dict[str, torch.Tensor]:
        """Compute the scores, the one that counts most first."""
        scores = super().compute()
        return {name: scores[name] for name in ("top1", "top5", "mean_class_accuracy", "loss") if name in scores}


class _CrossEntropy(MeanMetric):
    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:  # type: ignore[override]
        super().update(F.cross_entropy(logits, labels), weight=len(labels))
