import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from gpvit.data.classification.shard_index import ShardSamples, index_shard

NAMES = ["plain.jpg", "folder.with.dots/9.PNG", "x" * 150 + ".webp", "größe_äöü.jpeg"]


def write(path, files):
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def contents(seed, size=700):
    return [np.random.default_rng([seed, number]).bytes(size + number) for number in range(len(NAMES))]


@pytest.fixture
def shards(tmp_path):
    """Twenty shards: more than are held open. Labels come before or after their images, beside other files."""
    paths = [tmp_path / f"train-{number:02}.tar" for number in range(20)]
    for shard, path in enumerate(paths):
        files = [("README", b"no sample")]
        for number, (name, content) in enumerate(zip(NAMES, contents(shard), strict=True)):
            key = name.rpartition(".")[0]
            sample = [(name, content), (f"{key}.json", b"{}"), (f"{key}.cls", f"{4 * shard + number}\n".encode())]
            files += sample[:: 1 if number % 2 else -1]
        write(path, files)
    return paths


def opened(paths):
    return ShardSamples(paths, lambda image: image)


def check(index):
    assert len(index) == 80
    assert index.labels.tolist() == list(range(80))
    for number in np.random.default_rng(0).permutation(80):
        shard, place = divmod(int(number), 4)
        assert index.read(number) == contents(shard)[place]
        assert index.name(number) == f"{index.shards[shard]}: {NAMES[place]}"


def test_every_sample_is_found_in_any_order(shards):
    check(opened(shards))
    assert all(path.with_suffix(".idx").is_file() for path in shards)
    check(opened(shards))


def test_the_index_beside_a_shard_serves_until_the_shard_changes(shards):
    shard, beside = shards[0], shards[0].with_suffix(".idx")
    samples = index_shard(shard)
    stored = dict(np.load(beside))
    stored["samples"]["label"] += 100
    np.savez(beside.open("wb"), **stored)
    assert np.array_equal(index_shard(shard)["label"], samples["label"] + 100)
    os.utime(shard, ns=(0, 1))
    assert np.array_equal(index_shard(shard), samples)
    write(shard, [("a.jpg", b"1"), ("a.cls", b"5")])
    assert index_shard(shard)["label"].tolist() == [5]
    for damaged in (beside.read_bytes()[:-1], b"", b"PK\x03\x04", b"words"):
        beside.write_bytes(damaged)
        assert index_shard(shard)["label"].tolist() == [5]


def test_naming_samples_opens_no_shard(shards, monkeypatch):
    index = opened(shards)
    monkeypatch.setattr(tarfile, "open", None)
    monkeypatch.setattr(type(shards[0]), "open", None)
    assert [index.name(number).rpartition(": ")[2] for number in range(8)] == 2 * NAMES
    monkeypatch.undo()


def test_an_index_that_cannot_be_kept_is_made_again(shards):
    for shard in shards:
        shard.with_suffix(".idx").mkdir()  # stands for a folder that is read-only
    check(opened(shards))
    assert not list(shards[0].parent.glob(".*"))


def test_files_are_opened_anew_in_another_process(shards):
    index = opened(shards)
    assert index.read(0) == contents(0)[0]
    children = []
    for _ in range(4):  # with a file in common, they would move each other's position in it
        if (child := os.fork()) == 0:
            os._exit(any(index.read(3) != contents(0)[3] or index.read(1) != contents(0)[1] for _ in range(50)))
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)


def test_a_shard_cut_anywhere_is_refused(shards, tmp_path):
    whole = shards[0].read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for length in range(0, end, 173):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.tar .*fetch it again"):
            index_shard(cut)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.jpg", b"1"), ("b.jpg", b"1"), ("b.cls", b"0")], r"sample a has no label \(cls\), but only jpg"),
        ([("a.cls", b"1"), ("a.txt", b"")], r"sample a has no image .* but only cls, txt"),
        ([("a.jpg", b"1"), ("a.cls", b"cat")], r"label of sample a is b'cat'"),
    ],
)
def test_incomplete_samples_are_named(files, message, tmp_path):
    write(tmp_path / "train.tar", files)
    with pytest.raises(ValueError, match=rf"train\.tar: .*{message}"):
        index_shard(tmp_path / "train.tar")


def test_compressed_and_shortened_shards(shards):
    index = opened(shards[:1])
    content = shards[0].read_bytes()
    shards[0].write_bytes(content[:1600])
    with pytest.raises(OSError, match="shorter than it was"):
        index.read(3)
    shards[0].write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="uncompressed tar files"):
        index_shard(shards[0])
