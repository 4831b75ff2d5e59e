"""Models as files that answer as they do, in runtimes that know nothing of this package."""

from gpvit.export.exporting import export as export
