"""How good a segmenter is."""

import torch
from torchmetrics.classification import MulticlassJaccardIndex

from gpvit.data.segmentation.masks import IGNORE


class SegmentationScores(MulticlassJaccardIndex):
    """Intersection over union and accuracy, overall and by class, from one confusion matrix over all pixels.

    Pixels whose label is `IGNORE` do not count, and a class that has no share in a score (for the IoU one that is
    neither labelled nor predicted, for the accuracy one that is not labelled) is nan and left out of the mean.
    Under several processes their matrices are added.

    Args:
        num_classes: How many classes there are.

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
