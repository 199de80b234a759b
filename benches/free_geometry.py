"""How near targets that follow free changes of pictures are to those of the live teacher.

usage: free_geometry.py CACHE

CACHE holds every anchor and some views of each image (`logitcache build --profile dense --views
2`). The targets of view 0 are carried to each view as `logitcache.ultralytics` does with
`geometry="free"`; the view itself holds what the teacher said of these pixels. Prints the mean over
views of the cosine between the gradients of both, with respect to a student's outputs that are
random, by the scale of the views. Needs the package `logitcache`, PyTorch and Ultralytics.
"""

import sys

import numpy as np
import torch

import logitcache
from logitcache.torch import ClassLoss, DflLoss, TeacherTargets
from logitcache.ultralytics.free import Placed, Teacher

RANGES = {"all": (0.0, 9.0), "0.9 to 1.1": (0.9, 1.1), "under 0.7": (0.0, 0.7), "over 1.4": (1.4, 9.0)}
LOSSES = ("softmax-kl", "bckd", "bce")


def placed(image, change, size):
    """Where a view shows the image."""
    whole = np.array([image.width, image.height])
    box = image.letterbox
    still = Placed(0, np.rint(whole * (size / whole).min()) / whole, np.array([box.pad_left, box.pad_top]), np.array([0, 0, *size]))
    view = still.then(change.scale, (change.offset_x, change.offset_y))
    return view.then((-1, 1), (size[0], 0)) if change.flip else view


def said(view, anchors):
    """What the teacher said of a view, as targets; without boxes."""
    rows = len(view)
    return TeacherTargets(
        batch_index=torch.zeros(rows, dtype=torch.int64),
        anchor=torch.from_numpy(view.anchor.astype(np.int64)),
        score=torch.from_numpy(np.array(view.score)),
        class_logits=torch.from_numpy(np.array(view.all_class_logits)),
        dfl_logits=torch.from_numpy(view.dfl_logits.astype(np.float32).reshape(rows, -1)),
        boxes=torch.zeros(rows, 4),
        floor_prob=torch.full((1, anchors), float(view.dropped_mean_prob)),
        dropped_score_sum=torch.tensor([view.dropped_score_sum]),
    )


def gradients(targets, classes):
    random = torch.Generator().manual_seed(0)
    anchors, bins = targets.floor_prob.shape[1], targets.dfl_logits.shape[1]
    scores = (torch.randn(1, classes, anchors, generator=random) * 0.1 - 5).requires_grad_()
    boxes = (torch.randn(1, bins, anchors, generator=random) * 0.5).requires_grad_()
    of_classes = [torch.autograd.grad(ClassLoss(kind)(scores, targets).sum(), scores)[0] for kind in LOSSES]
    return [*of_classes, torch.autograd.grad(DflLoss()(boxes, targets).sum(), boxes)[0]]


def main():
    cache = logitcache.Cache(sys.argv[1])
    size = np.array([cache.info["teacher"]["input_width"], cache.info["teacher"]["input_height"]])
    anchors = sum(int(np.prod(size // stride)) for stride in cache.info["teacher"]["strides"])
    classes, found = len(cache.class_names), []
    for image in cache:
        teacher = Teacher(cache, [image.image_id])
        for number in range(1, cache.views + 1):
            view = image.with_view(number)
            carried = gradients(teacher.targets([placed(image, view.change, size)]), classes)
            live = gradients(said(view, anchors), classes)
            pairs = zip(carried, live, strict=True)
            cosines = [torch.cosine_similarity(a.flatten(), b.flatten(), 0).item() for a, b in pairs]
            found.append((view.change.scale, cosines))
    print(f"| scale (views) | {' | '.join(LOSSES)} | DFL |\n|---|{'---|' * (len(LOSSES) + 1)}")
    for name, (low, high) in RANGES.items():
        own = [cosines for scale, cosines in found if low < scale < high]
        print(f"| {name} ({len(own)}) | {' | '.join(f'{mean:.4f}' for mean in np.mean(own, 0))} |")


if __name__ == "__main__":
    main()
