import numpy as np
import pytest
from PIL import Image

from gpvit.data.segmentation.folders import ADE20K, ade20k_classes


@pytest.fixture
def root(tmp_path):
    for split, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        for kind in ("images", "annotations"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (60, 40), (90, 120, 30)).save(tmp_path / "images" / split / f"{stem}.jpg")
        labels = np.arange(40 * 60).reshape(40, 60) % 151
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "annotations" / split / f"{stem}.png")
    return tmp_path


def test_classes():
    names = ade20k_classes()
    assert len(names) == len(set(names)) == 150
    assert (names[0], names[12], names[44], names[149]) == ("wall", "person", "chest of drawers", "flag")


def test_the_layout_of_the_release(root):
    data = ADE20K(root, num_workers=0, batch_size=1)
    assert data.class_names == ade20k_classes()
    assert len(set(data.colors)) == 150
    (sample,) = data.samples("val")
    assert sample.name == "ADE_val_00000001"
    assert sample.mask[0, :4].tolist() == [255, 0, 1, 2]
    assert sample.mask.ravel()[150] == 149
    data.setup("fit")
    ((images, masks),) = data.val_dataloader()
    assert images.shape == (1, 3, 512, 768)
    assert masks.shape == (1, 40, 60)
    ((images, masks),) = data.train_dataloader()
    assert images.shape == (1, 3, 512, 512)
    assert masks.shape == (1, 512, 512)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no folder images and no annotations; .*ADEChallengeData2016"):
        ADE20K(tmp_path)
