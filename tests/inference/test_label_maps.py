import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpvit.inference import label_maps


@pytest.mark.parametrize(("num_classes", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.int32), (1000, np.int32)])
def test_255_stays_free_to_say_no_class(num_classes, dtype):
    assert label_maps.empty_label_map(num_classes, (2, 3)).dtype == dtype


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
def test_pieces_from_the_top_give_the_map_of_the_whole(stride, monkeypatch, assert_same_labels):
    monkeypatch.setattr(label_maps, "_BAND_VALUES", 1000)
    generator = torch.Generator().manual_seed(stride)
    for _ in range(30):
        height, width, beyond_y, beyond_x = torch.randint(1, 12, (4,), generator=generator).tolist()
        logits = torch.randn(5, height, width, generator=generator)
        whole = F.interpolate(logits[None], scale_factor=stride, mode="bilinear")[0]
        whole = whole[:, : max(1, height * stride - beyond_y), : max(1, width * stride - beyond_x)]
        pieces = logits.split(int(torch.randint(1, 5, (1,), generator=generator)), dim=1)
        labels = label_maps.empty_label_map(5, (whole.shape[1], whole.shape[2]))
        labels[:] = 99
        label_maps.fill_from_top(labels, pieces, height, stride)
        assert labels.max() < 5
        if labels.size > 200:
            assert_same_labels(labels, whole)


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 6), (9, 3)])
@pytest.mark.parametrize("smooth", [True, False])
def test_labels_between_cells_are_those_of_enlarged_logits(stride, size, smooth):
    generator = torch.Generator().manual_seed(stride)
    logits = torch.randn(7, *size, generator=generator)
    if smooth:  # mostly one class, so that most blocks agree
        logits[3] += 2
    enlarged = F.interpolate(logits[None], scale_factor=stride, mode="bilinear", align_corners=False)[0]
    assert torch.equal(label_maps.upsampled_labels(logits, stride), enlarged.argmax(0))
