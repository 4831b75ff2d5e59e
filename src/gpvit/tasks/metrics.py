"""How good a classifier and a segmenter are; `gpvit.tasks.coco_ap` is the same for detectors."""

import torch
import torch.nn.functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from gpvit.data.segmentation.masks import IGNORE


class ClassificationScores(MetricCollection):
    """Accuracy and mean cross-entropy, over all images alike, and the mean over the classes of each one's accuracy.

    `compute` gives `top1`, for more than five classes `top5`, `mean_class_accuracy` and `loss`.
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


class SegmentationScores(MulticlassJaccardIndex):
    """Intersection over union and accuracy, overall and by class, from one confusion matrix over all pixels.

    Pixels whose label is `IGNORE` do not count, and a class that has no share in a score (for the IoU one that is
    neither labelled nor predicted, for the accuracy one that is not labelled) is nan and left out of the mean.
    Under several processes their matrices are added.

    Example:
        >>> scores = SegmentationScores(3)
        >>> scores.update(torch.tensor([[0, 0, 1]]), torch.tensor([[0, 1, 1]]))
        >>> {name: value.tolist() for name, value in scores.compute().items() if name in ("miou", "iou")}
        {'miou': 0.5, 'iou': [0.5, 0.5, nan]}
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none", ignore_index=IGNORE, validate_args=False)

    def compute(self) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Compute `miou`, `macc`, `aacc` (the share of right pixels), and `iou` and `acc` of each class, `(K,)`."""
        matrix = self.confmat  # rows are labels, columns predictions
        right, labelled, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
        iou = right / (labelled + predicted - right)
        acc = right / labelled
        aacc = right.sum() / matrix.sum()
        return {"miou": iou.nanmean(), "macc": acc.nanmean(), "aacc": aacc, "iou": iou, "acc": acc}
