"""Models by name: what is published, how it is built, and its weight files."""
