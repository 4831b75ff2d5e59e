"""What users can mend by themselves; everything else is a bug and keeps its traceback."""


class UserError(ValueError):
    """A mistake in what a user gave: the message says what was given, what is allowed and what to do.

    The command line prints it without a traceback; `GPVIT_DEBUG=1` shows that as well.
    """
