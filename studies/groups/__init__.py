"""Groups judged against true objects."""
