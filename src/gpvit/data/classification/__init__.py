"""Image classification, from files to batches: whole images, each with one label."""
