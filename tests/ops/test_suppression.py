import pytest
import torch
from torchvision.ops import batched_nms

from gpvit.ops.suppression import ABSENT, suppress


def candidates(seed: int, images: int = 2, classes: int = 3, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes on whole pixels, some empty and some alike, and scores of few values, some absent."""
    torch.manual_seed(seed)
    corners = torch.randint(0, 12, (images, count, 2))
    boxes = torch.cat([corners, corners + torch.randint(0, 9, (images, count, 2))], dim=2).float()
    boxes[:, count // 2] = boxes[:, 0]
    scores = torch.randint(0, 8, (images, classes, count)) / 8
    return boxes, scores.masked_fill(torch.rand(scores.shape) < 0.3, ABSENT)


def suppressed_by_torchvision(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    expected = torch.full_like(scores, ABSENT)
    for own_boxes, own_scores, out in zip(boxes, scores, expected, strict=True):
        label, index = torch.where(own_scores >= 0)
        kept = batched_nms(own_boxes[index], own_scores[label, index], label, overlap)
        out[label[kept], index[kept]] = own_scores[label[kept], index[kept]]
    return expected


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_keeps_what_torchvision_keeps(overlap):
    suppressed = 0
    for seed in range(30):
        boxes, scores = candidates(seed)
        kept = suppress(boxes, scores, overlap)
        assert torch.equal(kept, suppressed_by_torchvision(boxes, scores, overlap))
        suppressed += int((kept != scores).sum())
    assert suppressed > 20 or overlap == 1.0


def test_nothing_to_suppress():
    boxes, scores = candidates(0)
    nothing = torch.full_like(scores, ABSENT)
    assert torch.equal(suppress(boxes, nothing, 0.5), nothing)
    assert suppress(boxes[:, :0], scores[..., :0], 0.5).shape == (2, 3, 0)


def test_is_an_operator_that_exports():
    boxes, scores = candidates(0)
    torch.library.opcheck(torch.ops.gpvit.suppress.default, (boxes, scores.transpose(1, 2).contiguous().mT, 0.5))
