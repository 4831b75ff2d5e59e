"""Lets `python -m gpvit` do what `gpvit` does."""

from gpvit.cli import main

raise SystemExit(main())
