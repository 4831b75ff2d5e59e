"""The verb `gpvit convert`."""

from pathlib import Path

from gpvit.zoo.hub import convert_file


def convert(official: str, out: str, model: str | None = None, force: bool = False) -> None:
    """Turn a checkpoint of the authors' code into a self-describing file, strictly: every weight in, every weight used.

    Args:
        official: A .pth file that the paper's authors released, or that their code (mmcls, mmseg, mmdet) trained.
        out: Where to write, ending in .safetensors.
        model: Name of the model; by default found by the shapes of the weights.
        force: Write over a file that is there.
    """
    if Path(out).exists() and not force:
        raise FileExistsError(f"{out} is there already; give --force to write over it")
    name, converted = convert_file(official, out, model)
    parameters = sum(parameter.numel() for parameter in converted.parameters())
    size_mb = Path(out).stat().st_size / 1e6
    print(f"{out}: {name}, {parameters:,} parameters, {converted.num_classes} classes, {size_mb:.1f} MB")
