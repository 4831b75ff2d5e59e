"""Datasets go to loader processes, which may be started afresh: nothing of a data module or a Trainer goes along."""

import pickle
import pickletools

import lightning
import numpy as np
import pytest
import torch
from data.detection.conftest import make_part
from data.segmentation.folders import write_pairs

from gpvit.data.detection import CocoFolder
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.segmentation import DigitScenes, MaskFolder


def coco(root):
    for part, count in (("train", 4), ("val", 3)):
        make_part(root, part, count, np.random.default_rng(0))
    return CocoFolder(root, num_workers=0)


DATA = {
    "masks": lambda root: MaskFolder(write_pairs(root), num_workers=0),
    "scenes": lambda root: DigitScenes(64, 4, 2),
    "coco": coco,
    "objects": lambda root: DetectionScenes(64, 4, 2),
}


def open_data(name, root):
    data = DATA[name](root)
    data.setup("fit")
    data.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    return data


@pytest.mark.parametrize("name", DATA)
def test_datasets_pickle_without_data_module_and_trainer(name, tmp_path):
    data = open_data(name, tmp_path)
    for dataset in (data.train_set.dataset, data.val_set):
        packed = pickle.dumps(dataset)
        named = {str(value) for _, value, _ in pickletools.genops(packed)}
        assert not any("lightning" in value or value.endswith("Data") or value == "trainer" for value in named)
        again = pickle.loads(packed)
        assert len(again) == len(dataset)
        torch.manual_seed(0)
        image, _ = dataset[1]
        torch.manual_seed(0)
        assert torch.equal(again[1][0], image)
        assert again.name(1) == dataset.name(1)
