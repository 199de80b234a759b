"""Distil a small detector from a cache in a training loop of its own, with PyTorch alone.

usage: distil_loop.py CACHE [--epochs N] [--batch N]

Prints the mean loss of each epoch. The student is as small as can be; any network with outputs at
the teacher's strides will do. It learns from the teacher alone: a loss of the labels would be added
in the loop.
"""

import argparse

import torch
from torch import nn

import logitcache
from logitcache.torch import Anchors, DistillDataset, DistillLoss, collate


class Student(nn.Module):
    """Convolutions down to strides 8, 16 and 32; at each, class logits and 16 bins for each side of
    a box.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()

        def half(before: int, after: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.SiLU())

        self.stem = nn.Sequential(half(3, width), half(width, width))
        self.levels = nn.ModuleList(half(width, width) for _ in range(3))
        self.heads = nn.ModuleList(nn.Conv2d(width, classes + 64, 3, 1, 1) for _ in range(3))
        for head in self.heads:
            nn.init.constant_(head.bias[:classes], -5.0)  # few anchors show an object
        self.classes = classes

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[B, classes, A] class logits and [B, 64, A] logits of the bins."""
        features, outputs = self.stem(images), []
        for level, head in zip(self.levels, self.heads, strict=True):
            features = level(features)
            outputs.append(head(features).flatten(2))
        return torch.cat(outputs, 2).split([self.classes, 64], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(0)

    data = DistillDataset(args.cache, augment=True)
    loader = torch.utils.data.DataLoader(data, args.batch, shuffle=True, collate_fn=collate, num_workers=1)
    student = Student(len(logitcache.Cache(args.cache).class_names))
    anchors, criterion = Anchors.of_grid(data.input), DistillLoss(cls_loss="bckd")
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        data.set_epoch(epoch, mosaic=epoch < args.epochs - 2)
        total = 0.0
        for batch in loader:
            class_logits, box_logits = student(batch["image"].float() / 255)
            loss = criterion(class_logits, box_logits, anchors, batch["teacher"]).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / len(data)
        print(f"epoch {epoch + 1}  loss {total:.3f}")


if __name__ == "__main__":
    main()
