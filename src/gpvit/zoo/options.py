"""Options that a model does not have are refused by name, with the nearest that it has."""

import difflib
from collections.abc import Iterable

from gpvit.errors import UserError


def check_options(subject: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise unless all options are known.

    Args:
        subject: What the options are for; the message begins with it.
        given: Names of the options.
        known: Names of those that there are.

    Raises:
        ValueError: If one is unknown; the nearest known one is proposed.
    """
    known = list(known)
    for unknown in given:
        if unknown not in known:
            near = difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise UserError(f"{subject} has no option {unknown!r}; {hint}")
