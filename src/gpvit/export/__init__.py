"""Exported files: what other runtimes read."""
