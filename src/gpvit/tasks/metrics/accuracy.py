"""How good a classifier is."""

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy


def accuracies(num_classes: int, per_class: bool = False, prefix: str | None = None) -> MetricCollection:
    """Create top-1 accuracy and, where there are more than five classes, top-5, both over all images alike.

    Args:
        num_classes: How many classes there are.
        per_class: Add the mean over the classes of each class's accuracy.
        prefix: Start of the metrics' names.
    """
    ranks = (1, 5) if num_classes > 5 else (1,)
    metrics = {f"top{k}": MulticlassAccuracy(num_classes, top_k=k, average="micro") for k in ranks}
    if per_class:
        metrics["mean_class_accuracy"] = MulticlassAccuracy(num_classes, average="macro")
    # torchmetrics would merge metrics that agree on the first batch, and top-1 and top-5 do when it is all right.
    return MetricCollection({**metrics}, prefix=prefix, compute_groups=False)
