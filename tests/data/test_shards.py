import io
import json

import numpy as np
import pytest
import torch
import webdataset
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from PIL import Image
from timm.data.readers import reader_wds

from gpvit.data.preprocessing import Augmentation, Preprocessing
from gpvit.data.shards import Shards

SMALL = Preprocessing((3, 16, 16), (0.0,) * 3, (1.0,) * 3)
PLAIN = Augmentation((1, 1), (1, 1), 0, 0, None, 0)
SPLITS = {"train": [5, 5, 5, 5], "validation": [4, 3, 2]}


def encoded(gray: int, extension: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30), gray, np.uint8)).save(buffer, "PNG" if extension == "png" else "JPEG")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    """Flat gray images: the gray level counts the samples, so that each can be recognised."""
    info = {"class_names": ["cat", "dog", "owl"], "splits": {}}
    for split, lengths in SPLITS.items():
        names, count = [], 0
        for shard, length in enumerate(lengths):
            names.append(f"{split}-{shard}.tar")
            with webdataset.TarWriter(str(tmp_path / names[-1])) as writer:
                for _ in range(length):
                    extension = ("png", "jpg", "jpeg")[count % 3]
                    label = str(count % 3).encode()
                    writer.write({"__key__": f"{count:04}", extension: encoded(10 * count, extension), "cls": label})
                    count += 1
        info["splits"][split] = {
            "name": split,
            "num_samples": count,
            "filenames": names,
            "shard_lengths": lengths,
        }
    (tmp_path / "_info.json").write_text(json.dumps(info))
    return tmp_path


def shards(root, **options):
    return Shards(root, **{"preprocessing": SMALL, "augmentation": PLAIN, "batch_size": 4, "num_workers": 0, **options})


def samples(loader):
    """Numbers of the samples in the order they come, after a look at their shapes and labels."""
    order = []
    for images, labels in loader:
        assert images.shape[1:] == (3, 16, 16)
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        numbers = (images.mean((1, 2, 3)) * 25.5).round().long()
        assert torch.equal(numbers % 3, labels)
        order += numbers.tolist()
    return order


def test_facts_are_known_before_setup(root):
    data = Shards(str(root))
    assert data.class_names == ("cat", "dog", "owl")
    assert data.num_classes == 3
    assert data.preprocessing == Preprocessing()


@pytest.mark.parametrize("num_workers", [0, 2, 16])  # 16: more than there are shards
def test_evaluation_sees_every_image_once(root, num_workers):
    data = shards(root, num_workers=num_workers)
    data.setup("validate")
    assert sorted(samples(data.val_dataloader())) == sorted(samples(data.test_dataloader())) == list(range(9))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_gives_full_batches_in_another_order_every_epoch(root, num_workers):
    data = shards(root, num_workers=num_workers)
    data.setup("fit")
    loader = data.train_dataloader()
    first, second = samples(loader), samples(loader)
    assert len(first) == len(second) == 4 * len(loader)
    if num_workers == 0:
        assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first != sorted(first)


def test_shards_are_found_by_pattern_and_classes_by_number(root):
    (root / "_info.json").unlink()
    data = shards(root, class_names=3, train_split="train-{0..3}.tar|20", val_split="validation-{0..2}.tar")
    assert data.class_names == ("0", "1", "2")
    data.setup("fit")
    assert sorted(samples(data.train_dataloader())) == list(range(20))
    assert sorted(samples(data.val_dataloader())) == list(range(9))


class Recorder(BoringModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3))
        self.trained, self.validated = [], []

    def training_step(self, batch, index):
        images, labels = batch
        self.trained.append((self.current_epoch, labels.tolist()))
        return torch.nn.functional.cross_entropy(self.layer(images), labels)

    def validation_step(self, batch, index):
        self.validated += batch[1].tolist()


def trainer(root, max_epochs):
    return Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
    )


@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__`")
def test_a_trainer_counts_nothing_away(root):
    model = Recorder()
    engine = trainer(root, 3)
    engine.fit(model, datamodule=shards(root, num_workers=2))
    assert len(model.validated) == 3 * 9
    assert [epoch for epoch, _ in model.trained].count(0) == engine.num_training_batches


def test_each_epoch_takes_the_shards_in_another_order_also_when_resumed(root, monkeypatch):
    monkeypatch.setattr(reader_wds, "SAMPLE_SHUFFLE_SIZE", 1)  # leaves the samples of a shard together
    whole, begun, resumed = Recorder(), Recorder(), Recorder()
    trainer(root, 4).fit(whole, datamodule=shards(root))
    engine = trainer(root, 2)
    engine.fit(begun, datamodule=shards(root))
    engine.save_checkpoint(root / "epoch2.ckpt")
    trainer(root, 4).fit(resumed, datamodule=shards(root), ckpt_path=root / "epoch2.ckpt")
    assert begun.trained + resumed.trained == whole.trained
    assert len({str([labels for number, labels in whole.trained if number == epoch]) for epoch in range(4)}) > 1


def rewrite(root, change):
    info = json.loads((root / "_info.json").read_text())
    change(info)
    (root / "_info.json").write_text(json.dumps(info))


def test_class_names_must_be_known(root):
    rewrite(root, lambda info: info.pop("class_names"))
    with pytest.raises(ValueError, match=r"_info\.json does not give class_names"):
        shards(root)
    assert shards(root, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")
    (root / "_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"_info\.json is not valid JSON"):
        shards(root)


def test_absent_folders_and_shards_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        shards(tmp_path / "nowhere")
    (root / "train-2.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 shards are missing: \['train-2\.tar'\]"):
        shards(root).setup("fit")
    shards(root).setup("validate")


@pytest.mark.parametrize("split", ["val", "train-{0..3}.tar"])
def test_wrong_splits(root, split):
    rewrite(root, lambda info: info["splits"].pop("train"))
    with pytest.raises(ValueError, match=r"cannot be read .*\|1000"):
        shards(root, train_split=split).setup("fit")


def test_a_split_whose_entry_is_incomplete(root):
    rewrite(root, lambda info: info["splits"]["train"].pop("shard_lengths"))
    with pytest.raises(ValueError, match="shard_lengths"):
        shards(root).setup("fit")


def test_labels_beyond_the_classes(root):
    data = shards(root, class_names=["cat", "dog"])
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader()):
        with pytest.raises(ValueError, match="label 2 lies outside the 2 classes"):
            list(loader)


def test_shards_without_a_readable_sample(root):
    for index in range(3):
        with webdataset.TarWriter(str(root / f"validation-{index}.tar")) as writer:
            writer.write({"__key__": "0", "png": b"no picture", "cls": b"0"})
    data = shards(root)
    data.setup("validate")
    with pytest.raises(ValueError, match="no sample could be read"):
        list(data.val_dataloader())
