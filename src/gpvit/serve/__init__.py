"""Models as a web service: a front that takes requests, and worker processes that answer them in batches."""
