"""The verb `gpvit verify`."""

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gpvit.cli import CommandError
from gpvit.errors import UserError
from gpvit.tasks.certificates import TOLERANCE, certify, write_certificate


def verify(
    checkpoint: str,
    data: str | None = None,
    expect: float | None = None,
    tolerance: float = TOLERANCE,
    metric: str | None = None,
    out: str | None = None,
    batch_size: int | None = None,
    num_workers: int = 4,
    device: str | None = None,
) -> None:
    """Evaluate weights, compare with the published or an expected score, and write a certificate.

    Args:
        checkpoint: Published weights as `gpvit_l1.in1k`, or a .safetensors file of a run.
        data: What to evaluate on, as `gpvit evaluate` takes it: ImageNet's, ADE20K's or COCO's folder, one's own,
            `digits` or `digit_scenes`.
        expect: The score that is expected, from 0 to 1; by default the published ones.
        tolerance: How far a score may be from it, either way; 0.002 is 0.2 points of percent.
        metric: Which score is expected: by default `top1`, `miou` or `box_ap`.
        out: File for the certificate, by default CHECKPOINT.certificate.json in the present folder.
        batch_size: Images that are computed at once, by default 64 for a classifier, 1 for a detector.
        num_workers: Processes that load images.
        device: `cpu` or `cuda`; by default a GPU if there is one.
    """
    if data is None:
        raise UserError("say what to evaluate on: --data FOLDER, or digits, or digit_scenes")
    if metric is not None and expect is None:
        raise UserError(f"leave out --metric, or say by --expect what {metric} should be")
    certificate = certify(
        checkpoint, data, expect, tolerance, metric, batch_size, num_workers, device, progress=sys.stderr.isatty()
    )
    options = {"--data": data, "--expect": expect, "--metric": metric, "--tolerance": tolerance}
    given = [part for option, value in options.items() if value is not None for part in (option, str(value))]
    certificate["command"] = shlex.join(["gpvit", "verify", checkpoint, *given])
    path = Path(out or f"{Path(checkpoint).name.removesuffix('.safetensors')}.certificate.json")
    write_certificate(certificate, path)
    table = Table("score", "measured", "expected", "tolerance", "")
    for row in certificate["compared"]:
        figures = (f"{row[key]:.2%}" for key in ("measured", "expected", "tolerance"))
        table.add_row(row["score"], *figures, "agrees" if row["agrees"] else "differs")
    Console().print(table)
    print(f"{certificate['verdict']}: {checkpoint} on {data}, {certificate['scores']['images']} images; {path}")
    if certificate["faults"]:
        raise CommandError("\n".join(certificate["faults"]))
