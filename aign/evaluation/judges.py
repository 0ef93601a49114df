"""Who judges imagined images: a classifier, learnt from images that no network of the run sees."""

import torch

from aign.data.cache import CacheError
from aign.data.digits import NUM_KINDS
from aign.data.image_splits import ChosenImages, ImageData, judge_training_images
from aign.errors import UserError
from aign.evaluation.attributes import AttributeClassifier, Classifier

SEED = 0


def learn_judge(
    data: ImageData, chosen: ChosenImages, attribute: str | None, device: torch.device | str, *, needed: bool
) -> Classifier | None:
    """The judge of digits, or of an attribute; None where there is nothing to judge, or it cannot be learnt.

    Learning it takes some 20 seconds of one core, and is done once (see ``aign.data.cache``). Raises CacheError if it
    cannot be kept and, if it is ``needed``, UserError for an attribute that cannot be learnt.
    """
    is_digits = data == "mnist"
    if not (is_digits or attribute):
        return None
    images = judge_training_images(data, chosen)
    if is_digits:
        labels = torch.from_numpy(images.table["label"].to_numpy(copy=True))
        return Classifier.fit_classes(images.pixels, labels, NUM_KINDS, SEED, subject="digits", device=device)
    try:
        return AttributeClassifier.fit(images, attribute, SEED, device=device)  # type: ignore[arg-type]
    except CacheError:
        raise
    except UserError:  # no 1 and -1, or too few people
        if needed:
            raise
        return None


def check_judge(data: ImageData, chosen: ChosenImages, attribute: str) -> None:
    """Raise UserError unless a judge of the attribute can be learnt; nothing is learnt."""
    AttributeClassifier.check(judge_training_images(data, chosen), attribute, SEED)
