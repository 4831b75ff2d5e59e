"""How well groups of tokens agree with the true objects of a scene: the truth of tokens, and four measures.

Truth is needed for tokens, not for pixels, and a digit is an object with its loops and hollows: the convex hull of its
ink that shows. Ink alone fills two thirds of that (68 % in 100 test scenes) in strokes that are often thinner than a
token: 44 of the 492 digits would have no token at all and 45 would fall apart; with hulls, 23 and 17. Boxes would be no
better: a hull fills 73 % of its box, and the rest, the corners beside a slanted digit, is background.

Shape letters: N objects, H W token grid.
"""

import numpy as np
from skimage.morphology import convex_hull_image
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

BACKGROUND = 0


def token_truth(masks: np.ndarray, stride: int) -> np.ndarray:
    """Give every token to whatever has most of its pixels: an object or the background.

    A pixel is an object's where its ink is, else where its convex hull is; of several hulls, the upper object's. An
    object so small that it has most of no token has no tokens.

    Args:
        masks: `(N, height, width)`, bool: ink that shows, of objects from top to bottom; no two overlap.
        stride: Pixels of a token's side; the last tokens may reach over the border.

    Returns:
        `(H, W)`: `BACKGROUND` or 1 + the object's index.
    """
    height, width = masks.shape[1:]
    pixels = np.full((height, width), BACKGROUND)
    for index in reversed(range(len(masks))):
        if masks[index].any():
            pixels[convex_hull_image(masks[index])] = 1 + index
    for index, ink in enumerate(masks):
        pixels[ink] = 1 + index
    whole = np.pad(pixels, ((0, -height % stride), (0, -width % stride)), constant_values=-1)
    tokens = whole.reshape(whole.shape[0] // stride, stride, whole.shape[1] // stride, stride)
    counts = [(tokens == label).sum(axis=(1, 3)) for label in range(1 + len(masks))]
    return np.asarray(np.argmax(counts, axis=0))


def agreement(groups: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Judge an assignment of tokens; NaN where a scene cannot tell.

    Args:
        groups: `(H, W)`: the group of each token, 0 or more.
        truth: `(H, W)`: what `token_truth` gives.

    Returns:
        `best_iou`: of each object, the intersection over union with the group that fits it best; mean over the objects.
        `ari`: adjusted Rand index over all tokens, the background being a class like each object: 1 for the same
        partition, 0 on average by chance. `foreground_ari`: the same over the objects' tokens alone, as in the
        literature on object discovery: are objects kept apart? It takes two objects. `recall`: share of the objects'
        tokens that lie in groups more than half of whose tokens are objects'.
    """
    groups, truth = groups.ravel(), truth.ravel()
    foreground = truth != BACKGROUND
    objects = np.unique(truth[foreground])
    several = adjusted_rand_score(truth[foreground], groups[foreground]) if len(objects) > 1 else np.nan
    return {
        "best_iou": _best_iou(groups, truth, objects) if len(objects) else np.nan,
        "ari": float(adjusted_rand_score(truth, groups)),
        "foreground_ari": float(several),
        "recall": _recall(groups, foreground) if len(objects) else np.nan,
    }


def summary(agreements: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean and standard error over scenes, each measure over the scenes that tell it.

    With fewer than two such scenes the error is NaN, with none also the mean.
    """
    means, errors = {}, {}
    for key in agreements[0]:
        known = np.array([one[key] for one in agreements if not np.isnan(one[key])])
        means[key] = float(known.mean()) if len(known) else np.nan
        errors[key] = float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else np.nan
    return means, errors


def shuffled(groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Scatter the tokens of groups over the image at random; the sizes of the groups stay."""
    return random.permutation(groups.ravel()).reshape(groups.shape)


def squares(shape: tuple[int, int], count: int) -> np.ndarray:
    """Divide a token grid `(H, W)` into about as many equal rectangles, near to squares: `(H, W)`."""
    height, width = shape
    rows = min(max(round(np.sqrt(count * height / width)), 1), height)
    columns = min(max(round(count / rows), 1), width)
    return np.add.outer(np.arange(height) * rows // height * columns, np.arange(width) * columns // width)


def colours(image: np.ndarray, stride: int, count: int) -> np.ndarray:
    """Group tokens by their mean colour alone, with k-means: `(H, W)`.

    Args:
        image: `(height, width, 3)`, uint8.
        stride: Pixels of a token's side.
        count: Number of groups.
    """
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge").astype(np.float64)
    rows, columns = padded.shape[0] // stride, padded.shape[1] // stride
    means = padded.reshape(rows, stride, columns, stride, 3).mean(axis=(1, 3)).reshape(-1, 3)
    means += 1e-6 * np.arange(len(means))[:, None]  # k-means warns of fewer colours than groups
    found = KMeans(min(count, len(means)), n_init=1, random_state=0).fit_predict(means)
    return np.asarray(found).reshape(rows, columns)


def _best_iou(groups: np.ndarray, truth: np.ndarray, objects: np.ndarray) -> float:
    found = np.unique(groups)
    of_group, of_object = groups == found[:, None], truth == objects[:, None]
    both = (of_object[:, None] & of_group).sum(axis=2)
    either = of_object.sum(axis=1)[:, None] + of_group.sum(axis=1) - both
    return float((both / either).max(axis=1).mean())


def _recall(groups: np.ndarray, foreground: np.ndarray) -> float:
    in_group, of_objects = np.bincount(groups), np.bincount(groups, foreground)
    return float((2 * of_objects > in_group)[groups[foreground]].mean())
