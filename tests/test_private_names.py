"""What other libraries keep to themselves may change in any of their versions."""

import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "gpvit"
LIBRARIES = r"(timm|torchvision|lightning|torchmetrics|torch\.utils\.data)"
OBJECTS = r"(trainer|fabric|strategy|precision|loader|dataloader|val_loader|sampler|timm|torchvision|lightning)"
PRIVATE = re.compile(
    rf"\b{OBJECTS}(\.\w+)*\._(?!_)\w+|from {LIBRARIES}[\w.]*\._\w+ import|from {LIBRARIES}[\w.]* import (.*\W)?_\w+"
    r"|def _get_iterator|_shutdown_workers"
)


def test_no_private_name_of_a_library_is_used():
    used = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if PRIVATE.search(line)
    ]
    assert used == []
