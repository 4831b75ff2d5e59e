"""From bytes to tensors: images, preprocessing, data modules and the real data that ships with the dependencies."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Digits": ".classification.digits",
        "ELPV": ".classification.elpv",
        "FashionMNIST": ".classification.fashion_mnist",
        "ImageFolder": ".classification.folders",
        "ClassificationData": ".classification.module",
        "Shards": ".classification.shards",
        "list_images": ".files",
        "ImageError": "..runtime.images",
        "open_image": "..runtime.images",
        "read_image": "..runtime.images",
        "digits_split": ".synthetic.digits",
        "load_photograph": ".synthetic.photographs",
        "photograph_credit": ".synthetic.photographs",
        "photograph_names": ".synthetic.photographs",
        "Scene": ".synthetic.scenes",
        "digit_scene": ".synthetic.scenes",
        "Augmentation": ".transforms.classification",
        "Preprocessing": ".transforms.classification",
        "training_transform": ".transforms.classification",
    },
)
