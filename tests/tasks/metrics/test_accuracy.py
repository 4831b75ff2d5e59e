import pytest
import torch

from gpvit.tasks.metrics.accuracy import ClassificationScores


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_counted_over_all_batches(seed):
    generator = torch.Generator().manual_seed(seed)
    metrics = ClassificationScores(8)
    logits, labels = torch.randn(60, 8, generator=generator), torch.randint(0, 8, (60,), generator=generator)
    logits[:20, :] = 10 * torch.eye(8)[labels[:20]]  # a first batch without a mistake makes all of them equal
    for start, end in ((0, 20), (20, 45), (45, 60)):
        metrics.update(logits[start:end], labels[start:end])
    ranks = logits.argsort(1, descending=True)
    right = ranks[:, 0] == labels
    expected = {
        "top1": right.float().mean(),
        "top5": (ranks[:, :5] == labels[:, None]).any(1).float().mean(),
        "loss": torch.nn.functional.cross_entropy(logits, labels),
        "mean_class_accuracy": torch.stack([right[labels == i].float().mean() for i in range(8)]).mean(),
    }
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )


def test_top5_needs_more_than_five_classes():
    assert set(ClassificationScores(5)) == {"top1", "mean_class_accuracy", "loss"}
    assert set(ClassificationScores(6)) == {"top1", "top5", "mean_class_accuracy", "loss"}
