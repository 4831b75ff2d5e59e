"""What users can mend by themselves; everything else is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what a user gave: the message says what was given, what is allowed and what to do.

    The command line prints it without a traceback; `GPVIT_DEBUG=1` shows that as well.
    """


def nearest(wrong: str, known: Iterable[str], most: int = 1) -> str:
    """Propose what may have been meant in place of an unknown name, else list what there is.

    Example:
        >>> nearest("img_sise", ["img_size", "in_chans"])
        'did you mean img_size?'
    """
    known = list(known)
    near = difflib.get_close_matches(wrong.lower(), known, n=most, cutoff=0.4 if most > 1 else 0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
