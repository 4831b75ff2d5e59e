"""From bytes to tensors: images, preprocessing, data modules and the real data that ships with the dependencies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classification.digits": ["Digits"],
        "classification.elpv": ["ELPV"],
        "classification.fashion_mnist": ["FashionMNIST"],
        "classification.folders": ["ImageFolder"],
        "classification.module": ["ClassificationData"],
        "classification.shards": ["Shards"],
        "files": ["list_images"],
        "images": ["ImageError", "open_image", "read_image"],
        "synthetic.digits": ["digits_split"],
        "synthetic.photographs": ["load_photograph", "photograph_credit", "photograph_names"],
        "synthetic.scenes": ["Scene", "digit_scene"],
        "transforms.classification": ["Augmentation", "Preprocessing", "training_transform"],
    },
)
