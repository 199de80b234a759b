"""Distil a detector of torchvision (FCOS) from a cache: its own loss on the labels, the teacher's outputs beside it.

usage: distil_torchvision.py CACHE [--epochs N] [--batch N] [--alpha SHARE] [--out STUDENT.pt]

The cells of FCOS at strides 8, 16 and 32 are the teacher's anchors. Its cells at 64 and 128 have no
teacher and learn from the labels alone. Prints the mean losses of each epoch.
"""

import argparse

import torch
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import logitcache
from logitcache.torch import Anchors, DistillDataset, DistillLoss, collate

STRIDES = (8, 16, 32, 64, 128)


def student(classes: int) -> FCOS:
    """FCOS over a ResNet-18, from random weights."""
    top = LastLevelP6P7(256, 256)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5, returned_layers=[2, 3, 4], extra_blocks=top
    )
    cells = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))
    return FCOS(backbone, classes, anchor_generator=cells)


def labels_of(batch: dict, images: int) -> list[dict]:
    """The labels as torchvision has them: a dictionary for each image."""
    of_image = [batch["batch_index"] == image for image in range(images)]
    return [{"boxes": batch["boxes"][rows], "labels": batch["class_id"][rows]} for rows in of_image]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=0.7, help="weight of the labels")
    parser.add_argument("--out", help="file for the trained weights")
    args = parser.parse_args()
    torch.manual_seed(0)

    data = DistillDataset(args.cache, augment=True)
    loader = torch.utils.data.DataLoader(data, args.batch, shuffle=True, collate_fn=collate, num_workers=1)
    model = student(len(logitcache.Cache(args.cache).class_names)).train()
    criterion = DistillLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-4)
    for epoch in range(args.epochs):
        data.set_epoch(epoch, mosaic=epoch < args.epochs - 2)
        of_labels = of_teacher = 0.0
        for batch in loader:
            images = torch.stack([model.transform.normalize(image) for image in batch["image"].float() / 255])
            features = list(model.backbone(images).values())
            outputs = model.head(features)
            cells = model.anchor_generator(ImageList(images, [images.shape[-2:]] * len(images)), features)

            # By name, with their own divisors: the labels' loss of torchvision.
            count = [f.shape[-2] * f.shape[-1] for f in features]
            labels = sum(model.compute_loss(labels_of(batch, len(images)), outputs, cells, count).values())

            # The first three levels are the teacher's; a cell's centre is where torchvision has it.
            taught = sum(count[:3])
            stride = torch.repeat_interleave(torch.tensor(STRIDES[:3]), torch.tensor(count[:3])).view(-1, 1).float()
            centres = (cells[0][:taught, :2] + cells[0][:taught, 2:]) / 2 / stride
            class_logits, distances = outputs["cls_logits"], outputs["bbox_regression"]
            teacher = criterion(
                class_logits[:, :taught].transpose(1, 2),
                distances[:, :taught].transpose(1, 2),
                Anchors(centres, stride),
                batch["teacher"],
            ).total / len(images)

            optimizer.zero_grad()
            (args.alpha * labels + (1 - args.alpha) * teacher).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            of_labels += labels.item() / len(loader)
            of_teacher += teacher.item() / len(loader)
        print(f"epoch {epoch + 1}  labels {of_labels:.3f}  teacher {of_teacher:.3f}")
    if args.out:
        torch.save(model.state_dict(), args.out)


if __name__ == "__main__":
    main()
