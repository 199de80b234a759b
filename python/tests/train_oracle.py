"""The batches of `train` by the text of docs/training-data.md alone: what is drawn, pixels, labels,
predictions.

Made from the unchanged images (`augment=False`), whose letterbox and predictions other tests check.
"""

import struct
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "tests/python"))

from views import chacha8, recoloured

STEP = 32
GAINS = (0.015, 0.7, 0.4)


def numbers(seed, epoch, image, purpose, count):
    key = struct.pack("<QQQ8s", seed, epoch, image, purpose)
    return [(x >> 11) * 2.0**-53 for x in chacha8(key, count)]


def below(draw, count):
    return min(int(draw * count), count - 1)


def order(seed, epoch, images):
    """Fisher-Yates."""
    out, draws = list(range(images)), numbers(seed, epoch, 0, b"shuffle\0", images - 1)
    for last, draw in zip(range(images - 1, 0, -1), draws):
        other = below(draw, last + 1)
        out[last], out[other] = out[other], out[last]
    return out


class Oracle:
    """`still`: position to arrays of the unchanged image; `shown`: position to (left, top, width,
    height) in its letterbox.
    """

    def __init__(self, still, shown, labelled, input_size, strides):
        self.still, self.shown, self.labelled = still, shown, labelled
        self.height, self.width = input_size
        self.cells = []
        for stride in strides:
            rows, columns = self.height // stride, self.width // stride
            self.cells += [(stride, row, column) for row in range(rows) for column in range(columns)]
        self.anchor_of = {cell: anchor for anchor, cell in enumerate(self.cells)}

    def tiles(self, draws, index, mosaic):
        """[(position, shift, area on the window)]"""
        if not (mosaic and draws[0] < 1.0):
            most = [int(0.1 * side / STEP + 1e-9) for side in (self.width, self.height)]
            dx, dy = (STEP * (below(draw, 2 * m + 1) - m) for draw, m in zip(draws[7:9], most))
            return [(index, (dx, dy), (dx, dy, self.width + dx, self.height + dy))]
        pool = [i for i, labelled in enumerate(self.labelled) if labelled == self.labelled[index]]
        images = [index, *(pool[below(draw, len(pool))] for draw in draws[1:4])]
        cx, cy = (STEP * below(draw, side // STEP + 1) for draw, side in zip(draws[4:6], (self.width, self.height)))
        out = []
        for place, image in enumerate(images):
            left, top, width, height = self.shown[image]
            x1, y1 = left // STEP * STEP, top // STEP * STEP
            x2, y2 = min(-(-(left + width) // STEP) * STEP, self.width), min(-(-(top + height) // STEP) * STEP, self.height)
            dx, dy = cx - (x1 if place % 2 else x2), cy - (y1 if place // 2 else y2)
            out.append((image, (dx, dy), (x1 + dx, y1 + dy, x2 + dx, y2 + dy)))
        return out

    def row(self, seed, epoch, index, mosaic):
        """One image of a batch: pixels, labels [(class, box)], rows {anchor: ...}, floors."""
        draws = numbers(seed, epoch, index, b"augment\0", 13)
        flip = draws[9] < 0.5
        pixels = np.full((self.height, self.width, 3), 114, np.uint8)
        floor = np.full(len(self.cells), np.nan, np.float32)
        labels, rows = [], {}
        for image, (dx, dy), (x1, y1, x2, y2) in self.tiles(draws, index, mosaic):
            still = self.still[image]
            left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, self.width), min(y2, self.height)
            if left < right and top < bottom:
                pixels[top:bottom, left:right] = still["pixels"][0][top - dy : bottom - dy, left - dx : right - dx]
            for class_id, box in zip(still["label_class_id"], still["label_boxes_xyxy_input_px"]):
                before = np.clip(box + np.float32([dx, dy, dx, dy]), [x1, y1, x1, y1], [x2, y2, x2, y2])
                after = np.clip(before, 0, [self.width, self.height] * 2)
                (w, h), (w0, h0) = after[2:] - after[:2], before[2:] - before[:2]
                if w > 2 and h > 2 and w * h > 0.1 * w0 * h0 and max(w / h, h / w) < 100:
                    labels.append((class_id, self.mirrored(after) if flip else after))
            for anchor, (stride, row, column) in enumerate(self.cells):
                x, y = column * stride, row * stride
                if left <= x < right and top <= y < bottom:
                    floor[self.to(stride, row, column, flip)] = still["floor_prob"][0, 0]
            for at, anchor in enumerate(still["anchor"]):
                stride, row, column = self.cells[anchor]
                row, column = row + dy // stride, column + dx // stride
                if left <= column * stride < right and top <= row * stride < bottom:
                    dfl = still["dfl_logits"][at].reshape(4, -1)
                    box = still["boxes_xyxy_input_px"][at] + np.float32([dx, dy, dx, dy])
                    rows[self.to(stride, row, column, flip)] = (
                        still["score"][at],
                        still["class_logits"][at],
                        (dfl[[2, 1, 0, 3]] if flip else dfl).ravel(),
                        self.mirrored(box) if flip else box,
                    )
        if flip:
            pixels = pixels[:, ::-1]
        return recoloured(pixels, *(gain * (2 * draw - 1) for gain, draw in zip(GAINS, draws[10:]))), labels, rows, floor

    def to(self, stride, row, column, flip):
        return self.anchor_of[stride, row, self.width // stride - 1 - column if flip else column]

    def mirrored(self, box):
        return np.float32([self.width - box[2], box[1], self.width - box[0], box[3]])
