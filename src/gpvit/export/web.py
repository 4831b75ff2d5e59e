"""Writes a page without a server: the exported model, a runtime for browsers, and the image that anyone drops on it.

The folder may lie on any host of static files, or be opened from the disk. Browsers refuse a page on the disk to read
files, but not to run scripts: so model and runtime are scripts that hand over packed text, in parts of some megabytes.
"""

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from gpvit.data.colors import class_colors
from gpvit.errors import UserError
from gpvit.export.exporting import export
from gpvit.inference.metadata import task_of
from gpvit.io import cache_folder, located, replacing
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.runtime.container import read_onnx
from gpvit.runtime.metadata import Metadata
from gpvit.zoo.factory import open_model

RUNTIME = "onnxruntime-web@1.30.0"
"""The runtime for browsers, by npm's name."""

_INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # SHA-512
_MEMBERS = {"ort": "dist/ort.wasm.bundle.min.mjs", "wasm": "dist/ort-wasm-simd-threaded.wasm"}
_BESIDE = ("index.html", "style.css", "app.js", "onnxruntime_license.txt")
_PART = 3 << 20  # characters
_MOST_CLASSES = 256  # the gray levels of a mask


def write_page(model: nn.Module | str | Path, folder: str | Path) -> Metadata:
    """Write a folder with a page that classifies or labels images in the browser, and shows the groups of a GPViT.

    The model is exported for ONNX and compared with itself, as by :func:`gpvit.export.export`. The runtime comes from
    npm once, and is kept in ``$GPVIT_CACHE``.

    Args:
        model: A module, a name of the catalog such as ``"gpvit_l1.in1k"``, or the path of a checkpoint or of an
            exported ``.onnx``.
        folder: Where to; an earlier page in it is replaced.

    Returns:
        What the exported file says of itself.

    Raises:
        UserError: The model is a detector, npm is missing or cannot fetch the runtime, or the folder holds other files.
    """
    folder = located(folder).resolve()
    if folder.exists() and not _may_be_replaced(folder):
        raise UserError(f"{folder} holds other files than a page: name a folder that is empty or not there yet")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        onnx, metadata = _exported(model, Path(temporary, "model.onnx"))
        runtime = _fetch_runtime()
        contents = {"model": onnx.read_bytes(), "worker": _own("worker.js")}
        with tarfile.open(runtime) as archive:
            contents |= {name: _member(archive, member) for name, member in _MEMBERS.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as beside:
        page = Path(beside, "page")
        _write(page, metadata, contents)
        if folder.exists():
            shutil.rmtree(folder)
        page.rename(folder)
    return metadata


def _exported(model: nn.Module | str | Path, path: Path) -> tuple[Path, Metadata]:
    """Export a model with its groups, or take a file that is one; what a page cannot show is refused before."""
    if str(model).endswith(".onnx"):
        path = Path(str(model))
        found = read_onnx(path)[0]
        if found.input != "float":
            raise UserError(f"{path} takes bytes, and a page gives floats: export the model without --uint8")
        _require_shown(found.task, found.num_classes)
        return path, found
    network: Any = open_model(model) if isinstance(model, str | Path) else model
    _require_shown(task_of(network), network.num_classes)
    groups = any(isinstance(module, GroupPropagationBlock) for module in network.modules())
    return path, export(network, path, groups=groups)


def _require_shown(task: str, classes: int) -> None:
    if task == "detection" or (task == "segmentation" and classes > _MOST_CLASSES):
        raise UserError(
            f"a page shows classifiers, and segmenters of at most {_MOST_CLASSES} classes; detectors are served by "
            "`gpvit serve`, as browsers lack operators that they need"
        )


def _write(page: Path, metadata: Metadata, contents: dict[str, bytes]) -> None:
    """Write the page's files, and its contents in parts."""
    (page / "parts").mkdir(parents=True)
    names = []
    for name, content in contents.items():
        text = base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")
        for start in range(0, len(text), _PART):
            names.append(f"parts/{name}_{start // _PART}.js")
            (page / names[-1]).write_text(f'gpvit.part("{name}","{text[start : start + _PART]}");\n', encoding="ascii")
    facts = asdict(metadata) | {
        "title": f"{metadata.name}: {metadata.task} in the browser",
        "colors": metadata.label_colors or class_colors(metadata.num_classes),
    }
    del facts["parity"]
    script = f"gpvit.facts = {json.dumps(facts)};\ngpvit.files = {json.dumps(names)};\n"
    (page / "parts" / "facts.js").write_text(script, encoding="ascii")
    for name in _BESIDE:
        (page / name).write_bytes(_own(name))


def _fetch_runtime() -> Path:
    """Return npm's archive of the runtime, fetched into the cache at the first call, and held to its digest."""
    kept = cache_folder() / "web" / f"{RUNTIME}.tgz"
    if not kept.is_file():
        if (npm := shutil.which("npm")) is None:
            raise UserError(
                f"the page needs {RUNTIME}, which npm fetches: install Node.js, or put its archive at {kept}"
            )
        with replacing(kept) as path:
            command = [npm, "pack", RUNTIME, "--silent", "--fetch-retries=1", "--pack-destination", str(path.parent)]
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise UserError(
                    f"npm could not fetch {RUNTIME}: {(done.stderr or done.stdout).strip():.300}; on a machine without "
                    f"network, put its archive at {kept}"
                )
            next(path.parent.glob("*.tgz")).rename(path)
            _check(path, f"what npm fetched as {RUNTIME}")
    _check(kept, f"{kept}")
    return kept


def _check(archive: Path, what: str) -> None:
    with archive.open("rb") as file:
        digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode("ascii")
    if digest != _INTEGRITY:
        raise UserError(f"{what} has another SHA-512 than the version that this page was tested with; delete it")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    assert file is not None  # the digest says so
    return file.read()


def _own(name: str) -> bytes:
    return files("gpvit.export").joinpath("page", name).read_bytes()


def _may_be_replaced(folder: Path) -> bool:
    """Tell whether a folder is empty, or holds a page and nothing else."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    foreign = {name for name in names if name not in _BESIDE and not name.startswith("parts/")}
    return folder.is_dir() and not foreign and (not names or "parts/facts.js" in names)
