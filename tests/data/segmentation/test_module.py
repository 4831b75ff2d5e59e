import numpy as np
import pytest
import torch
from data.segmentation.folders import draw_pair, write_pairs
from PIL import Image

from gpvit.data.segmentation.folders import MaskFolder
from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.segmentation.module import SegmentationData
from gpvit.data.stats import count_pixels
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.runtime.images import ImageError

SMALL = SegmentationPreprocessing((3, 32, 48), max_size=None, size_divisor=16)


def folder(root, **options):
    return MaskFolder(root, preprocessing=SMALL, **{"batch_size": 4, "num_workers": 0, **options})


@pytest.fixture
def root(tmp_path):
    return write_pairs(tmp_path / "data")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(root, num_workers):
    data = folder(root, num_workers=num_workers)
    assert (data.num_classes, len(data.colors)) == (3, 3)  # before setup
    data.setup("fit")
    ((images, masks),) = data.train_dataloader()  # six, of which the last two make no full batch
    assert images.shape == (4, 3, 32, 48)
    assert masks.shape == (4, 32, 48)
    assert (images.dtype, masks.dtype) == (torch.float32, torch.int64)
    assert set(masks.unique().tolist()) <= {0, 1, 2, IGNORE}
    batches = list(data.val_dataloader())
    assert [tuple(images.shape) for images, _ in batches] == [(1, 3, 48, 64)] * 3
    for (_, masks), index in zip(batches, (0, 2, 1), strict=True):
        assert torch.equal(masks[0], torch.from_numpy(draw_pair(index + 100)[1].astype(np.int64)))


def test_training_shuffles_and_repeats_by_seed(root):
    data = folder(root)
    data.setup("fit")
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(next(iter(data.train_dataloader()))[0])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_fewer_images_than_a_batch_still_train(root):
    data = folder(root, batch_size=64)
    data.setup("fit")
    assert [len(images) for images, _ in data.train_dataloader()] == [6]


def test_validation_batches_need_one_size(root):
    data = folder(root, val_batch_size=3)
    data.setup("validate")
    assert [len(images) for images, _ in data.val_dataloader()] == [3]
    for kind, pixels in zip(("images", "masks"), draw_pair(0, (24, 30)), strict=True):
        Image.fromarray(pixels).save(root / kind / "val/0.png")
    with pytest.raises(ValueError, match=r"sizes \[\(24, 30\), \(40, 56\)\] .*set val_batch_size to 1"):
        list(data.val_dataloader())


def test_an_image_of_one_pixel(root):
    for split in ("train", "val"):
        Image.new("RGB", (1, 1)).save(root / f"images/{split}/0.png")
        Image.new("L", (1, 1)).save(root / f"masks/{split}/0.png")
    data = folder(root, batch_size=6)
    data.setup("fit")
    ((images, _),) = data.train_dataloader()
    assert images.shape == (6, 3, 32, 48)
    assert images.isfinite().all()
    images, masks = next(iter(data.val_dataloader()))
    assert images.shape == (1, 3, 16, 16)
    assert masks.shape == (1, 1, 1)


def damage(*paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])


def test_a_damaged_file_in_an_epoch_is_passed_over_and_named(root):
    data = folder(root, batch_size=2)
    data.setup("fit")
    damage(root / "images/train/2.png")
    with pytest.warns(UserWarning, match=r"skipped, 1 of at most 10: .*images.train.2\.png") as warned:
        batches = list(data.train_dataloader())
    assert [len(images) for images, _ in batches] == [2, 2, 2]
    assert data.train_set.skipped == len(warned)


@pytest.mark.filterwarnings("always:skipped")
def test_worker_processes_count_damage_together(root):
    data = folder(root, batch_size=1, num_workers=2, max_damaged=3)
    data.setup("fit")
    damage(root / "masks/train/0.png", root / "images/train/2.png")
    loader = data.train_dataloader()
    with pytest.raises(ImageError, match=r"(0|2)\.png(.|\n)*3 damaged images were skipped.*raise max_damaged above 3"):
        [list(loader) for _ in range(20)]
    assert data.train_set.skipped == 3


def test_validation_passes_over_nothing(root):
    data = folder(root)
    data.setup("validate")
    damage(root / "masks/val/0.png")
    with pytest.raises(ImageError, match=r"masks.val.0\.png is damaged or truncated"):
        list(data.val_dataloader())


@pytest.mark.filterwarnings("ignore:train. in 6:UserWarning")
def test_report(root, tmp_path):
    data = folder(root, classes=["grass", "cat", "dog", "unicorn"])
    state = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match=r"(train|val): in \d of \d images, these classes never occur: unicorn"):
        data.write_report(tmp_path / "run")
    assert torch.equal(state, torch.random.get_rng_state())
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["data.png", "labels.csv"]
    counts = count_pixels(data.samples("train"), data.class_names)
    assert (tmp_path / "run/labels.csv").read_text() == counts.to_csv()
    with Image.open(tmp_path / "run/data.png") as sheet:
        shown = {color for _, color in sheet.getcolors(sheet.width * sheet.height)}
    assert set(data.colors[:3]) <= shown
    assert data.colors[3] not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a"]}, "2 or more"),
        ({"class_names": [str(label) for label in range(256)]}, "at most 255"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"val_batch_size": 0}, "val_batch_size 0"),
        ({"max_damaged": -1}, "max_damaged -1"),
        ({"colors": [(0, 0, 0)]}, "1 colours for 2 classes"),
        ({"colors": [(0, 0, 0), (0, 0, 300)]}, r"colour \(0, 0, 300\)"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SegmentationData(**{"class_names": ["a", "b"], **options})
