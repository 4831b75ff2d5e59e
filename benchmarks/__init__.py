"""The developers' own speed checks."""
