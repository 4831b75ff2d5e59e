"""The verb `gpvit demo`."""

import time
from pathlib import Path

from gpvit.demo.demo import run_demo


def demo(out: str = "demo", seed: int = 0, quick: bool = False) -> None:
    """Let the models that come with the package answer, teach one of them letters, and write a report with images.

    Args:
        out: Folder for the report, the letters and the runs; an earlier demo in it is replaced.
        seed: Random seed.
        quick: Train hardly at all, to see what the report looks like.
    """
    start = time.monotonic()
    report = run_demo(Path(out), seed, quick)
    seconds = f"{time.monotonic() - start:.0f} s"
    print(f"done in {seconds}. With images of your own, as FOLDER/train/CLASS/ and FOLDER/val/CLASS/:")
    print("  gpvit train recipes/folder/small/classify.yaml --data.root FOLDER --out runs/mine")
    print("  gpvit predict runs/mine IMAGE...")
    print(f"Open this file in a browser:\n{report.resolve()}")
