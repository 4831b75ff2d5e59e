"""A report as one file: what it is made of, and how that becomes a page that needs no network."""
