from collections import Counter

import pytest
import torch
from tasks.objects import Rectangles
from tasks.patches import Patches

from gpvit.data import Digits
from gpvit.data.module import ImageData
from gpvit.train.batch_stats import Look, describe, look_at


def every_label(data: ImageData) -> Counter:
    """Count the labels of the first epoch by hand."""
    counts = Counter()
    for _, targets in data.train_dataloader():
        if isinstance(targets, torch.Tensor):
            found = [label for label in targets.flatten().tolist() if label != 255]
        else:
            found = [label - 1 for target in targets for label in target["labels"].tolist()]
        counts.update(data.class_names[label] for label in found)
    return counts


@pytest.mark.parametrize(
    ("data", "kind", "size"),
    [
        (lambda: Digits(image_size=32, batch_size=400), "images", 400),
        (Patches, "pixels", 2),
        (Rectangles, "objects", 2),
    ],
)
def test_labels_are_counted_by_class(data, kind, size):
    made = data()
    made.setup("fit")
    look = look_at(made)
    assert (look.kind, look.size) == (kind, size)
    assert look.labels == every_label(made)  # so few batches are all looked at
    assert look.suspicions() == []
    assert look.seconds > 0
    (name, count), *_ = look.labels.most_common()
    assert f"{name} {count / look.labels.total():.1%}" in look.describe_labels()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_pace_is_that_of_the_loader(workers):
    data = Digits(image_size=32, batch_size=4)
    data.num_workers, data.train_collate = workers, slow_collate
    data.setup("fit")
    assert look_at(data).seconds == pytest.approx(0.2 / max(workers, 1), rel=0.5)


def slow_collate(samples):
    import time

    time.sleep(0.2)
    return torch.utils.data.default_collate(samples)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(2, 3, 4, 4), Counter(), "no label at all"),
        (torch.rand(2, 3, 4, 4), Counter(cat=7), "is 'cat': is the class where it should be?"),
        (torch.full((2, 3, 4, 4), torch.inf), Counter(cat=7, dog=2), "not finite"),
        (torch.ones(2, 3, 4, 4), Counter(cat=7, dog=2), "all of one colour"),
        (255 * torch.rand(2, 3, 4, 4), Counter(cat=7, dog=2), "should be normalised"),
    ],
)
def test_what_is_hardly_meant_is_said(images, labels, message):
    (said,) = Look((images, None), 2, "pixels", labels, 0.1).suspicions()
    assert message in said


def test_one_class_of_objects_is_nothing_odd():
    assert Look((torch.rand(2, 3, 4, 4), None), 2, "objects", Counter(digit=4), 0.1).suspicions() == []


def test_descriptions():
    assert describe(torch.zeros(0, 4)) == "(0, 4) float32"
    assert describe(torch.tensor([True])) == "(1,) bool"
    assert describe([]) == "none"
    target = {"boxes": torch.zeros(2, 4), "image_id": 3}
    assert describe([target, target]) == "2 times, first {boxes (2, 4), image_id 3}"
