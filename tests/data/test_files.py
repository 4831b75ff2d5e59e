import os
import unicodedata
from pathlib import Path

import pytest

from gpvit.data.classification.folders import ImageFolder, class_files
from gpvit.data.files import list_images
from gpvit.data.segmentation import MaskFolder
from gpvit.data.write_shards import write_shards
from gpvit.inference.inputs import Images
from gpvit.runtime.images import read_image

IMAGE = bytes.fromhex(  # a PNG of one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63600000000200014873d71d"
    "0000000049454e44ae426082"
)
LEFT_BEHIND = [
    "._a.png",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "__MACOSX/a.png",
    ".ipynb_checkpoints/a-checkpoint.png",
    "@eaDir/a.png/SYNOPHOTO_THUMB_M.png",
    "#recycle/a.png",
]


def touch(*paths, content=IMAGE):
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_list_images_of_files_folders_and_patterns(tmp_path):
    for name in ("b.png", "a.JPG", "deep/er/c.tiff", "deep/d.webp", "notes.txt", "other/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def names(inputs):
        return [path.relative_to(tmp_path).as_posix() for path in list_images(inputs)]

    assert names([tmp_path]) == ["a.JPG", "b.png", "deep/d.webp", "deep/er/c.tiff", "other/e.png"]
    assert names(str(tmp_path / "*.png")) == ["b.png"]
    assert names([tmp_path / "**/*.png"]) == ["b.png", "other/e.png"]
    assert names([tmp_path / "d*"]) == ["deep/d.webp", "deep/er/c.tiff"]
    assert names([tmp_path / "notes.txt", tmp_path / "b.png"]) == ["notes.txt", "b.png"]
    assert names([tmp_path / "b.png", tmp_path]) == ["b.png", "a.JPG", "deep/d.webp", "deep/er/c.tiff", "other/e.png"]


def test_list_images_counts_as_people_do(tmp_path):
    names = ["1.png", "02.png", "2.png", "10.png", "clip 2/frame9.png", "clip 2/frame10.png", "clip 10/frame1.png"]
    names += ["frame2.png", "frame2a3.png", "frame2a20.png", "frame2a.png", "frame10.png", "frame²3.png"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for entry in (tmp_path, tmp_path / "**/*.png"):
        assert [path.relative_to(tmp_path).as_posix() for path in list_images(entry)] == names


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    path = tmp_path / "image[1].png"
    path.write_bytes(b"")
    assert list_images([path]) == [path]


@pytest.mark.parametrize(
    ("name", "message"), [("absent.png", "no such"), ("*.gif", "matches nothing"), ("empty", "holds no image")]
)
def test_list_images_of_nothing(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("words")
    with pytest.raises(FileNotFoundError, match=message) as error:
        list_images([tmp_path / name])
    assert str(tmp_path / name) in str(error.value)
    with pytest.raises(ValueError, match="no image was given"):
        list_images([])


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Two classes of three images in two parts, and what systems leave behind everywhere."""
    monkeypatch.chdir(tmp_path)
    for folder in (".", "train", "val", "train/a", "train/b", "val/a", "val/b"):
        touch(*(Path("data", folder, name) for name in LEFT_BEHIND), content=b"junk")
    touch(*(f"data/{part}/{name}/{k}.png" for part in ("train", "val") for name in "ab" for k in range(3)))
    return Path("data")


def test_what_systems_leave_behind_is_passed_over_everywhere(dataset):
    assert len(list_images("data")) == len(list_images("data/**/*.png")) == len(list_images("data/*/[ab]")) == 12
    assert len(list_images("data/train/**/?.png")) == len(list_images("d*/**/a/*")) == 6
    assert len(Images([f"file://{dataset.resolve()}"])) == 12
    assert ImageFolder(dataset).class_names == ("a", "b")
    assert len(class_files(dataset / "train")) == 6
    splits = write_shards(dataset, "shards").splits
    assert {name: split["num_samples"] for name, split in splits.items()} == {"train": 6, "validation": 6}


def test_what_is_named_itself_is_taken(dataset):
    for entry in ("data/._a.png", "data/__MACOSX", "data/train/.ipynb_checkpoints/*", "data/@eaDir/**/*.png"):
        assert len(list_images(entry)) == 1


def test_links_are_followed_but_no_circle(dataset, tmp_path):
    touch("pool/0.png", "pool/deeper/1.png")
    Path("pool/deeper/up").symlink_to("..")
    Path("pool/self").symlink_to("self")
    Path("pool/2.png").symlink_to("0.png")
    Path("pool/gone.png").symlink_to("/nowhere/gone.png")
    os.mkfifo("pool/pipe.png")
    for part in ("train", "val"):
        (dataset / part / "c").symlink_to(tmp_path / "pool")
    expected = ["0.png", "2.png", "deeper/1.png", "gone.png"]
    assert [path.relative_to("pool").as_posix() for path in list_images("pool")] == expected
    assert ImageFolder(dataset).class_names == ("a", "b", "c")
    assert len(class_files(dataset / "train")) == 6 + len(expected)
    Path("pool/pipe.png").unlink()
    assert len(list_images("pool/**/*.png")) == 4
    with pytest.raises(FileNotFoundError, match=r"gone\.png links to /nowhere/gone\.png, which is not there"):
        read_image("pool/gone.png")


def test_paths_are_what_a_shell_makes_of_them(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path))
    for root in ("data", "~/data", "$DATA/data", "${DATA}/data"):
        assert len(list_images(root)) == len(list_images(f"{root}/**/*.png")) == 12
        assert ImageFolder(root).class_names == ("a", "b")
    touch("~odd.png", "$DATA/1.png")
    assert [path.name for path in list_images(["~odd.png", "$DATA"])] == ["~odd.png", "1.png"]


def test_unicode_forms_commas_and_other_names(dataset):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    touch(f"data/train/{composed}/1.PNG", f"data/val/{decomposed}/1.png")
    touch("data/train/cat, big/1.png", "data/val/cat, big/1.Png")
    assert ImageFolder(dataset).class_names == ("a", "b", "cat, big", composed)
    touch(f"data/train/{decomposed}/2.png")
    with pytest.raises(ValueError, match="differ in Unicode form alone"):
        ImageFolder(dataset)
    touch(os.fsdecode(b"data/val/M\xfcller/1.png"))
    with pytest.raises(ValueError, match=r"M\\udcfcller' has a name that is not UTF-8"):
        class_files(dataset / "val")
    for kind, name in (("images", f"{composed}.png"), ("masks", f"{decomposed}.PNG")):
        touch(f"seg/{kind}/val/{name}")
    assert len(MaskFolder("seg", classes=["a", "b"]).samples("val")) == 1


def test_a_folder_without_images_says_what_it_holds(dataset):
    touch("phone/1.heic", "phone/2.heic", "phone/more/3.txt")
    with pytest.raises(FileNotFoundError, match=r"phone holds no image; it holds \.heic, \.txt, more; known"):
        list_images("phone")
