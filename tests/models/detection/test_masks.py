"""Pasting and cutting out masks against loops over pixels."""

import math

import numpy as np
import pytest
import torch

from gpvit.models.detection.masks import crop_masks, paste_masks


def bilinear(mask: np.ndarray, y: float, x: float) -> float:
    """Value between the centres of a mask's cells, in cells, with zeros around it."""
    value = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                value += mask[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def pasted_by_loops(mask: np.ndarray, box: list[float], height: int, width: int) -> np.ndarray:
    left, top, right, bottom = box
    image, size = np.zeros((height, width)), len(mask)
    for row in range(height):
        for column in range(width):
            y = (row + 0.5 - top) / (bottom - top) * size - 0.5
            x = (column + 0.5 - left) / (right - left) * size - 0.5
            image[row, column] = bilinear(mask, y, x)
    return image


BOXES = [
    [3.2, 4.7, 21.9, 15.1],
    [-7.0, -3.0, 12.5, 40.0],  # beyond the image
    [10.0, 10.0, 10.4, 10.3],  # less than a pixel
    [0.0, 0.0, 30.0, 20.0],
]


@pytest.mark.parametrize("size", [5, 28])
def test_pasted_as_by_loops(size):
    masks, boxes = torch.rand(len(BOXES), 1, size, size), torch.tensor(BOXES)
    pasted = paste_masks(masks, boxes, (20, 30))
    assert pasted.shape == (len(BOXES), 1, 20, 30)
    for mask, box, image in zip(masks, BOXES, pasted, strict=True):
        expected = pasted_by_loops(mask[0].numpy(), box, 20, 30)
        left, top, right, bottom = box
        rows, columns = np.arange(20)[:, None], np.arange(30)
        near = (rows >= top - 2) & (rows < bottom + 1) & (columns >= left - 2) & (columns < right + 1)
        inside = (rows + 0.5 > top) & (rows + 0.5 < bottom) & (columns + 0.5 > left) & (columns + 0.5 < right)
        np.testing.assert_allclose(image[0].numpy()[inside], expected[inside], atol=1e-4)
        assert not image[0].numpy()[~near].any()
        # What fades out beyond the box stays below the threshold, so it is no part of the mask.
        assert ((image[0].numpy() >= 0.5) <= inside).all()
    assert torch.equal(paste_masks(masks, boxes, (20, 30), binary=True), pasted >= 0.5)


def test_boxes_without_pixels_leave_no_mask():
    boxes = torch.tensor([[50.0, 5, 60, 9], [30.0, 5, 30, 9], [4.3, 5, 4.3, 9], [4.5, 5, 4.5, 9], [-9.0, -9, -5, -5]])
    assert not (paste_masks(torch.ones(5, 1, 28, 28), boxes, (20, 30), binary=True)).any()
    assert paste_masks(torch.ones(0, 1, 28, 28), boxes[:0], (20, 30)).shape == (0, 1, 20, 30)


def test_cutting_out_a_whole_number_of_pixels_each():
    mask = torch.rand(40, 60) > 0.5
    boxes = torch.tensor([[4.0, 6.0, 32.0, 34.0], [10.0, 3.0, 38.0, 31.0]])
    cropped = crop_masks(mask[None], boxes, torch.zeros(2, dtype=torch.int64), 28)
    assert torch.equal(cropped[0].bool(), mask[6:34, 4:32])
    assert torch.equal(cropped[1].bool(), mask[3:31, 10:38])


def test_each_box_gets_the_mask_that_it_was_matched_with():
    masks = torch.zeros(3, 30, 30, dtype=torch.uint8)
    masks[0], masks[2, :, :15] = 1, 255
    boxes = torch.tensor([[1.0, 1.0, 29.0, 29.0]]).repeat(5, 1)
    cropped = crop_masks(masks, boxes, torch.tensor([2, 1, 0, 2, 1]), 14)
    assert cropped.mean(dim=(1, 2)).tolist() == [0.5, 0.0, 1.0, 0.5, 0.0]
    assert crop_masks(masks, boxes[:0], torch.zeros(0, dtype=torch.int64), 14).shape == (0, 14, 14)


def test_pasting_undoes_cutting_out():
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    disc = ((rows - 30) ** 2 + (columns - 40) ** 2) < 400
    box = torch.tensor([[20.0, 10.0, 61.0, 51.0]])
    cropped = crop_masks(disc[None], box, torch.zeros(1, dtype=torch.int64), 28)
    again = paste_masks(cropped[:, None], box, (60, 80), binary=True)[0, 0]
    assert (again & disc).sum() / (again | disc).sum() > 0.95
