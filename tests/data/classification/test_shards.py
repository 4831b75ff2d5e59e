import io
import json
import tarfile

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from PIL import Image

from gpvit.data.classification.shards import ShardOrder, Shards
from gpvit.data.transforms.classification import Augmentation, Preprocessing
from gpvit.runtime.images import ImageError

SMALL = Preprocessing((3, 16, 16), (0.0,) * 3, (1.0,) * 3)
PLAIN = Augmentation((1, 1), (1, 1), 0, 0, None, 0)
SPLITS = {"train": [5, 5, 5, 5], "validation": [4, 3, 2]}


def encoded(gray: int, extension: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30), gray, np.uint8)).save(buffer, "PNG" if extension == "png" else "JPEG")
    return buffer.getvalue()


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def root(tmp_path):
    """Flat gray images: the gray level counts the samples, so that each can be recognised."""
    info = {"class_names": ["cat", "dog", "owl"], "splits": {}}
    for split, lengths in SPLITS.items():
        names, count = [], 0
        for shard, length in enumerate(lengths):
            names.append(f"{split}-{shard}.tar")
            with tarfile.open(tmp_path / names[-1], "w") as tar:
                for _ in range(length):
                    extension = ("png", "jpg", "jpeg")[count % 3]
                    label = str(count % 3).encode()
                    add(tar, f"{count:04}.{extension}", encoded(10 * count, extension))
                    add(tar, f"{count:04}.cls", label)
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


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_sees_every_image_once(root, num_workers):
    data = shards(root, num_workers=num_workers)
    data.setup("validate")
    assert sorted(samples(data.val_dataloader())) == sorted(samples(data.test_dataloader())) == list(range(9))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_sees_every_image_once_in_another_order_every_epoch(root, num_workers):
    data = shards(root, num_workers=num_workers)
    data.setup("fit")
    loader = data.train_dataloader()
    first, second = samples(loader), samples(loader)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first != sorted(first)


def test_batches_depend_on_nothing_but_seed_epoch_and_position(root):
    """Neither on the number of workers, nor on what was read before, augmentation included."""
    runs = []
    for num_workers, number in ((0, 0), (1, 1), (2, 2)):
        torch.manual_seed(number)
        data = shards(root, augmentation=Augmentation(), num_workers=num_workers, window=2)
        data.distribute(0, 1, 5)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(3)
        runs.append([images for images, _ in loader])
    assert len(runs[0]) == 5
    for run in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(runs[0], run, strict=True))


@pytest.mark.parametrize(("world_size", "left_out"), [(2, 2), (3, 2)])
def test_processes_divide_every_epoch(root, world_size, left_out):
    taken = []
    for rank in range(world_size):
        data = shards(root, batch_size=3, window=2)
        data.distribute(rank, world_size, 0)
        data.setup("fit")
        taken += [index for keys in data.train_dataloader().batch_sampler for _, index in keys]
    assert len(set(taken)) == len(taken) == 20 - left_out


def test_shards_are_indexed_in_advance(root):
    data = shards(root)
    data.prepare_data()
    assert len(list(root.glob("*.idx"))) == 7
    shards(root, train_split="absent").prepare_data()  # who only evaluates need not have it


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


def test_a_run_goes_on_with_the_order_of_its_epoch(root, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    whole, begun, resumed = Recorder(), Recorder(), Recorder()
    trainer(root, 4).fit(whole, datamodule=shards(root, num_workers=2))
    engine = trainer(root, 2)
    engine.fit(begun, datamodule=shards(root))
    engine.save_checkpoint(root / "epoch2.ckpt")
    trainer(root, 4).fit(resumed, datamodule=shards(root), ckpt_path=root / "epoch2.ckpt")
    assert len(whole.validated) == 4 * 9
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
    with pytest.raises(ValueError, match=r"_info\.json is not JSON, or is cut short"):
        shards(root)


def test_absent_folders_and_shards_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        shards(tmp_path / "nowhere")
    (root / "train-2.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 shards are missing: \['train-2\.tar'\]"):
        shards(root).setup("fit")
    shards(root).setup("validate")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("val", r"split 'val' cannot be read .*\|1000"),
        ("train-{0..3}.tar|21", "hold 20 samples, not 21"),
        ("train-{0..3}.tar|many", "after the bar comes the number"),
        ("train-{3..0}.tar", "names no shard"),
        ("train-{a,b}.tar", "names no shard"),
        ("train-{0..4}.tar", r"1 of 5 shards are missing: \['train-4\.tar'\]"),
    ],
)
def test_wrong_splits(root, split, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        shards(root, train_split=split).setup("fit")


def test_a_split_whose_entry_is_incomplete(root):
    rewrite(root, lambda info: info["splits"]["train"].pop("shard_lengths"))
    with pytest.raises(ValueError, match="shard_lengths"):
        shards(root).setup("fit")


def test_a_shard_of_another_length(root):
    rewrite(root, lambda info: info["splits"]["train"].update(shard_lengths=[5, 5, 6, 4]))
    with pytest.raises(ValueError, match=r"train-2\.tar holds 5 samples, and _info\.json says 6"):
        shards(root).setup("fit")


def test_labels_beyond_the_classes(root):
    with pytest.raises(ValueError, match=r"train-0\.tar: 0002\.jpeg: label 2 lies outside the 2 classes"):
        shards(root, class_names=["cat", "dog"], val_split="train").setup("validate")


def test_a_damaged_image_is_named_and_passed_over_as_often_as_allowed(root):
    shard = root / "train-1.tar"
    with tarfile.open(shard) as tar:
        member = tar.getmember("0007.jpg")
    content = bytearray(shard.read_bytes())
    content[member.offset_data : member.offset_data + member.size] = bytes(member.size)
    shard.write_bytes(content)
    data = shards(root, max_damaged=1)
    data.setup("fit")
    with pytest.warns(UserWarning, match=r"1 of at most 1: .*train-1\.tar: 0007\.jpg is not an image"):
        numbers = samples(data.train_dataloader())
    assert len(numbers) == 20
    assert 7 not in numbers
    with pytest.raises(ImageError, match=r"(?s)train-1\.tar: 0007\.jpg is .*raise max_damaged above 1") as error:
        samples(data.train_dataloader())
    assert "1 damaged" in str(error.value)
    strict = shards(root, val_split="train")
    strict.setup("validate")
    with pytest.raises(ImageError, match=r"train-1\.tar: 0007\.jpg"):
        samples(strict.val_dataloader())


LENGTHS = [7, 0, 12, 3, 9, 9, 1, 20]


@pytest.mark.parametrize("window", [1, 3, 100])
@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 1), (2, 4), (3, 5), (5, 100)])
def test_every_sample_comes_once_in_every_epoch(window, world_size, batch_size):
    order = ShardOrder(LENGTHS, window, world_size, batch_size)
    epochs = [order.indices(0, epoch) for epoch in range(3)]
    for epoch, indices in enumerate(epochs):
        assert sorted(indices.tolist()) == list(range(len(order))) == list(range(sum(LENGTHS)))
        assert torch.equal(indices, ShardOrder(LENGTHS, window, world_size, batch_size).indices(0, epoch))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], order.indices(1, 0))


def shards_of(indices, lengths):
    return np.searchsorted(np.cumsum(lengths), indices.numpy(), side="right")


def test_reading_keeps_to_a_few_shards_at_a_time():
    lengths = [10] * 12
    shards = shards_of(ShardOrder(lengths, 3).indices(0, 0), lengths).reshape(4, 30)
    assert [len(set(window)) for window in shards] == [3] * 4
    assert all(list(window) != sorted(window, key=list(window).index) for window in shards)  # mixed, not one by one


def test_processes_read_different_shards():
    lengths, world_size, batch_size = [10] * 12, 3, 4
    indices = ShardOrder(lengths, 2, world_size, batch_size).indices(0, 0)
    steps = shards_of(indices, lengths).reshape(-1, world_size, batch_size)
    read = [set(steps[:, rank].flatten()) for rank in range(world_size)]
    assert [len(shards) for shards in read] == [4] * 3
    assert len(set.union(*read)) == 12
