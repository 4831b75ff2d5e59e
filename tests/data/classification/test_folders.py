import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from PIL import Image

from gpvit.data.classification.folders import ImageFolder
from gpvit.data.transforms.classification import Augmentation, Preprocessing
from gpvit.runtime.images import ImageError

SMALL = Preprocessing((3, 16, 24))


@pytest.fixture
def root(tmp_path):
    """Flat colours: the class is the channel that is bright."""
    for split, count in (("train", 5), ("val", 3)):
        for channel, name in enumerate(("blue-tit", "crow", "owl")):
            for index in range(count):
                path = tmp_path / split / name / ("deeper" if index % 2 else ".") / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((20, 30, 3), 10 * index, np.uint8)
                pixels[..., channel] = 250
                Image.fromarray(pixels).save(path)
    return tmp_path


def folder(root, **options):
    return ImageFolder(root, preprocessing=SMALL, **{"batch_size": 4, "num_workers": 0, **options})


def test_facts_are_known_before_setup(root):
    data = ImageFolder(str(root))
    assert data.class_names == ("blue-tit", "crow", "owl")
    assert data.num_classes == 3
    assert data.preprocessing == Preprocessing()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(root, num_workers):
    data = folder(root, num_workers=num_workers, augmentation=Augmentation(rand_augment=None, erase_probability=0))
    data.setup("fit")
    for loader, sizes in ((data.train_dataloader(), [4, 4, 4]), (data.val_dataloader(), [4, 4, 1])):
        batches = list(loader)
        assert [len(images) for images, _ in batches] == sizes
        for images, labels in batches:
            assert images.shape[1:] == (3, 16, 24)
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64
            assert torch.equal(images.mean((2, 3)).argmax(1), labels)


def test_training_shuffles_and_repeats_by_seed(root):
    data = folder(root, batch_size=15)
    data.setup("fit")
    runs = []
    for number in (0, 0, 1):
        torch.manual_seed(number)
        runs.append(next(iter(data.train_dataloader()))[1].tolist())
    assert runs[0] == runs[1] != runs[2]
    assert sorted(runs[0]) == sorted(runs[2]) == [0] * 5 + [1] * 5 + [2] * 5


def test_fewer_images_than_a_batch_still_train(root):
    data = folder(root, batch_size=64)
    data.setup("fit")
    assert [len(images) for images, _ in data.train_dataloader()] == [15]


def test_validation_images_alone_can_be_evaluated_but_not_trained_on(root):
    (root / "train").rename(root / "elsewhere")
    data = folder(root)
    assert data.num_classes == 3
    data.setup("validate")
    assert sum(len(images) for images, _ in data.test_dataloader()) == 9
    with pytest.raises(FileNotFoundError, match=r"train: no such folder; images belong"):
        data.setup("fit")


def test_a_trainer_takes_it(root):
    class Model(BoringModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 24, 3))

        def training_step(self, batch, index):
            images, labels = batch
            return torch.nn.functional.cross_entropy(self.layer(images), labels)

        def validation_step(self, batch, index):
            return {"x": self.training_step(batch, index)}

    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.fit(Model(), datamodule=folder(root))
    assert trainer.global_step == 6


def test_absent_folders(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; images belong into ROOT/train/CLASS/"):
        folder(tmp_path / "nowhere")
    (root / "val").rename(root / "Val")
    with pytest.raises(
        FileNotFoundError, match=r"val: no such folder.*lower case.*move about a tenth.* holds the folders Val, train"
    ):
        folder(root)
    (root / "val").mkdir()
    with pytest.raises(FileNotFoundError, match="val holds no class folder"):
        folder(root)


def test_an_empty_class_folder_is_named(root):
    for file in (root / "train" / "crow").rglob("*.png"):
        file.unlink()
    (root / "train" / "crow" / "notes.txt").write_text("no picture")
    data = folder(root)
    with pytest.raises(
        FileNotFoundError, match=r"train.crow holds no image; it holds \.txt, deeper; .*\.png.* without any: \['crow'\]"
    ):
        data.setup("fit")


def test_classes_that_differ_are_named(root):
    (root / "val" / "owl").rename(root / "val" / "Owl")
    with pytest.raises(ValueError, match=r"only in train: \['owl'\], only in val: \['Owl'\]"):
        folder(root)


def test_a_single_class_is_refused(root):
    for split in ("train", "val"):
        for name in ("crow", "owl"):
            (root / split / name).rename(root / f"{split}-{name}")
    with pytest.raises(ValueError, match=r"'blue-tit'.*2 or more"):
        folder(root)


def test_a_damaged_image_stops_the_run_with_its_name(root):
    path = root / "val" / "crow" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    data = folder(root)
    data.setup("validate")
    with pytest.raises(ImageError, match=r"crow.0\.png"):
        list(data.val_dataloader())


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_passes_over_a_few_damaged_images(root, num_workers):
    path = root / "train" / "crow" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    data = folder(root, batch_size=5, num_workers=num_workers, max_damaged=1)
    data.setup("fit")
    loader = data.train_dataloader()
    assert sum(len(images) for images, _ in loader) == 15
    assert data.train_set.skipped == 1
    assert data.train_set.name(5) == str(path)
    with pytest.raises(ImageError, match=r"crow.0\.png.*\n.*raise max_damaged above 1"):
        list(loader)
    with pytest.raises(ValueError, match="max_damaged -1"):
        folder(root, max_damaged=-1)
