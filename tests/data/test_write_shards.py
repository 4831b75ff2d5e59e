import io
import json
import os
import signal
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpvit.data.classification.shards import Shards
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.write_shards import write_shards
from gpvit.runtime.images import ImageError

CLASSES = ("blue.tit", "crow")


@pytest.fixture
def dataset(tmp_path):
    """23 training images and 6 to validate with, of several formats and names that shards could mistake."""
    for split, count in (("train", 23), ("val", 6)):
        for number in range(count):
            name = f"{'deeper/' if number % 3 else ''}{number // 2}.{'x' * (number % 2)}.{('PNG', 'jpeg')[number % 2]}"
            path = tmp_path / "dataset" / split / CLASSES[number % 2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([number, count]).integers(0, 255, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    return tmp_path / "dataset"


def stored(out, split):
    """What the shards of a split hold: label and bytes of each image."""
    found = []
    for name in json.loads((out / "_info.json").read_text())["splits"][split]["filenames"]:
        with tarfile.open(out / name) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        images = [name for name in files if not name.endswith(".cls")]
        assert len(files) == 2 * len(images)
        found += [(int(files[name.rpartition(".")[0] + ".cls"]), files[name]) for name in images]
    return found


def originals(dataset, split):
    return [
        (label, path.read_bytes())
        for label, name in enumerate(CLASSES)
        for path in (dataset / split / name).rglob("*")
        if path.is_file()
    ]


def numbers(written):
    return {split: entry["num_samples"] for split, entry in written.splits.items()}


def shards_in(out):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("*.tar")}


def test_shards_hold_every_image_unchanged_and_shuffled(dataset, tmp_path):
    out = tmp_path / "out"
    written = write_shards(dataset, out, images_per_shard=5)
    assert numbers(written) == {"train": 23, "validation": 6}
    assert {split: len(entry["filenames"]) for split, entry in written.splits.items()} == {"train": 5, "validation": 2}
    for split, folder in (("train", "train"), ("validation", "val")):
        assert Counter(stored(out, split)) == Counter(originals(dataset, folder))
        labels = [label for label, _ in stored(out, split)]
        assert labels not in (sorted(labels), sorted(labels, reverse=True))
    info = json.loads((out / "_info.json").read_text())
    assert info["class_names"] == list(CLASSES)
    assert info["splits"]["train"]["shard_lengths"] == [5, 5, 5, 5, 3]
    assert info["splits"]["validation"]["num_samples"] == 6


def test_what_is_written_can_be_trained_on(dataset, tmp_path):
    write_shards(dataset, tmp_path / "out", images_per_shard=5)
    data = Shards(tmp_path / "out", preprocessing=Preprocessing((3, 16, 16)), batch_size=4, num_workers=0)
    data.setup("fit")
    assert data.class_names == CLASSES
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 20
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 6


def test_the_seed_decides_every_byte(dataset, tmp_path):
    outs = [tmp_path / name for name in "abc"]
    for out, seed in zip(outs, (3, 3, 4), strict=True):
        write_shards(dataset, out, images_per_shard=7, seed=seed)
    first, same, other = ({name: content for name, (content, _) in shards_in(out).items()} for out in outs)
    assert first == same
    assert first != other


def test_a_killed_call_is_continued(dataset, tmp_path, monkeypatch):
    out = tmp_path / "out"
    replace, shards = os.replace, []

    def killed(source, target):
        shards.extend([target] if Path(target).suffix == ".tar" else [])
        if len(shards) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    if (child := os.fork()) == 0:
        write_shards(dataset, out, images_per_shard=5)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    monkeypatch.undo()
    before = shards_in(out)
    assert len(before) == 3
    assert not (out / "_info.json").exists()
    written = write_shards(dataset, out, images_per_shard=5)
    assert written.kept == 3
    after = shards_in(out)
    assert {name: after[name] for name in before} == before  # neither written again nor touched
    write_shards(dataset, tmp_path / "whole", images_per_shard=5)
    for path in (tmp_path / "whole").iterdir():
        assert path.suffix == ".idx" or path.read_bytes() == (out / path.name).read_bytes()


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1500], lambda content: b"", lambda content: content + b"0"]
)
def test_a_shard_that_is_not_whole_is_written_again(dataset, tmp_path, damage):
    write_shards(dataset, tmp_path / "out", images_per_shard=5)
    shard = tmp_path / "out" / "train-0001.tar"
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        end = tar.getmembers()[-1].offset_data + 512
    shard.write_bytes(damage(content[:end]))
    assert write_shards(dataset, tmp_path / "out", images_per_shard=5).kept == 6
    assert shard.read_bytes() == content


def test_an_unreadable_image_is_named_and_stops_unless_allowed(dataset, tmp_path):
    broken = dataset / "train" / "crow" / "deeper" / "0.x.jpeg"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    out = tmp_path / "out"
    with pytest.raises(ImageError, match=r"(?s)deeper/0\.x\.jpeg is damaged.*--max-damaged"):
        write_shards(dataset, out, images_per_shard=5)
    assert not list(out.glob(".*"))
    assert not (out / "_info.json").exists()
    written = write_shards(dataset, out, images_per_shard=5, max_damaged=1)
    assert numbers(written)["train"] == 22
    assert len(written.damaged) == 1
    assert "0.x.jpeg" in written.damaged[0]
    again = write_shards(dataset, out, images_per_shard=5, max_damaged=1)
    assert (again.kept, again.splits) == (7, written.splits)
    with pytest.raises(ImageError, match="lacks damaged images\nWith that, 1 damaged images would be left out"):
        write_shards(dataset, out, images_per_shard=5)


def test_a_repaired_image_is_written_and_finished_shards_kept(dataset, tmp_path):
    broken = dataset / "val" / "crow" / "deeper" / "0.x.jpeg"
    content = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(ImageError, match=r"0\.x\.jpeg is not an image"):
        write_shards(dataset, tmp_path / "out", images_per_shard=5)
    broken.write_bytes(content)
    assert write_shards(dataset, tmp_path / "out", images_per_shard=5).kept >= 5
    assert Counter(stored(tmp_path / "out", "validation")) == Counter(originals(dataset, "val"))


def test_a_folder_of_other_shards_or_of_anything_is_left_alone(dataset, tmp_path):
    out = tmp_path / "out"
    write_shards(dataset, out, images_per_shard=5)
    before = shards_in(out)
    with pytest.raises(ValueError, match=r"images per shard \(5 there, 6 now\), seed \(0 there, 1 now\)"):
        write_shards(dataset, out, images_per_shard=6, seed=1)
    with pytest.raises(ValueError, match=r"class names .*hash of the images"):
        write_shards("digits", out, images_per_shard=5)
    assert shards_in(out) == before
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        write_shards(dataset, tmp_path / "own")
    with pytest.raises(ValueError, match="inside the dataset"):
        write_shards(dataset, dataset / "shards")


def test_without_space_finished_shards_are_kept(dataset, tmp_path, monkeypatch):
    add, added = tarfile.TarFile.addfile, []

    def full(tar, *arguments):
        added.append(arguments)
        if len(added) > 25:  # in the third shard
            raise OSError(28, "No space left on device")
        add(tar, *arguments)

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(OSError, match="No space left"):
        write_shards(dataset, tmp_path / "out", images_per_shard=5)
    assert sorted(shards_in(tmp_path / "out")) == ["train-0000.tar", "train-0001.tar"]
    assert not list((tmp_path / "out").glob(".*"))
    monkeypatch.undo()
    assert write_shards(dataset, tmp_path / "out", images_per_shard=5).kept == 2


def test_data_sets_that_cannot_be_used(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        write_shards(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no folder; images belong into"):
        write_shards(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="holds no class folder"):
        write_shards(dataset / "train" / "crow", tmp_path / "out")
    (dataset / "test" / "owl").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"test and train must hold the same class folders.*blue\.tit"):
        write_shards(dataset, tmp_path / "out")
    (dataset / "test" / "owl").rename(dataset / "test" / "crow")
    (dataset / "test" / "blue.tit").mkdir()
    with pytest.raises(FileNotFoundError, match="Add images or remove the class folders without any"):
        write_shards(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"images_per_shard": 0}, {"seed": -1}, {"max_damaged": -1}])
def test_wrong_settings(dataset, tmp_path, options):
    with pytest.raises(ValueError, match="give at least"):
        write_shards(dataset, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_digits_become_pngs(tmp_path):
    written = write_shards("digits", tmp_path / "out")
    assert numbers(written) == {"train": 1297, "validation": 500}
    label, content = stored(tmp_path / "out", "validation")[0]
    assert 0 <= label < 10
    assert Image.open(io.BytesIO(content)).size == (8, 8)


def test_what_an_earlier_call_left_out_counts(dataset, tmp_path):
    for split in ("train", "val"):  # training shards are written first
        (dataset / split / "crow" / "deeper" / "0.x.jpeg").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(ImageError, match="With that, 2 damaged images would be left out"):
            write_shards(dataset, tmp_path / "out", images_per_shard=5, max_damaged=1)
    written = write_shards(dataset, tmp_path / "out", images_per_shard=5, max_damaged=2)
    assert numbers(written)["validation"] == 5
