"""From bytes to tensors: images, preprocessing, data modules and the real data that ships with the dependencies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classification": ["ClassificationData"],
        "digit_scenes": ["Scene", "digit_scene"],
        "digits": ["Digits", "digits_split"],
        "folders": ["ImageFolder"],
        "images": ["ImageError", "list_images", "read_image"],
        "photographs": ["load_photograph", "photograph_credit", "photograph_names"],
        "preprocessing": ["Augmentation", "Preprocessing", "training_transform"],
        "shards": ["Shards"],
    },
)
