"""From a trained model and any image to results that people read, for one image or many machines."""
