"""Views of an image by the text of docs/format.md, "Views", alone: the numbers that are drawn, the pixels, the way back of boxes."""

import struct

import numpy as np

NAMES = ("view_scale", "view_offset_x", "view_offset_y", "view_flip", "view_hue", "view_saturation", "view_value")
IDENTITY = (1.0, 0.0, 0.0, False, 0.0, 0.0, 0.0)


def chacha8(key, count):
    """The first `count` u64 of ChaCha with 8 rounds, counter and nonce 0."""

    def block(counter):
        start = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key)) + [counter, 0, 0, 0]
        state = start[:]

        def quarter(a, b, c, d):
            for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[x] = (state[x] + state[y]) & 0xFFFFFFFF
                mixed = state[z] ^ state[x]
                state[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

        for _ in range(4):
            for i in range(4):
                quarter(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, start)))

    data = b"".join(block(counter) for counter in range((count + 7) // 8))
    return struct.unpack(f"<{count}Q", data[: 8 * count])


def drawn(seed, image_id, view, columns, rows):
    """The seven numbers of a view in the order of NAMES, as they are stored."""
    if view == 0:
        return IDENTITY
    key = struct.pack("<QQq8s", seed, view, image_id, b"view\0\0\0\0")
    u = [(x >> 11) * 2.0**-53 for x in chacha8(key, 13)]
    signed = [2 * x - 1 for x in u]
    scale = 1 + 0.5 * signed[6]
    offset_x = (0.5 + 0.1 * signed[7]) * columns - scale * columns / 2
    offset_y = (0.5 + 0.1 * signed[8]) * rows - scale * rows / 2
    colours = [gain * s for gain, s in zip((0.015, 0.7, 0.4), signed[10:13])]
    return tuple(float(np.float32(x)) for x in (scale, offset_x, offset_y)) + (
        u[9] < 0.5,
        *(float(np.float32(x)) for x in colours),
    )


def taps(size, scale, offset):
    """Where each pixel of the view lies in the letterboxed picture: the first of two positions and the weight of the second."""
    position = np.clip((np.arange(size) - offset) / scale, -1, size)
    first = np.floor(position)
    return first.astype(int), np.floor((position - first) * 2048 + 0.5).astype(np.int64)


def resampled(levels, scale, offset_x, offset_y):
    rows, columns = levels.shape[:2]
    padded = np.pad(levels.astype(np.int64), ((1, 2), (1, 2), (0, 0)), constant_values=114)
    x, right = taps(columns, scale, offset_x)
    y, lower = taps(rows, scale, offset_y)
    right, lower = right[None, :, None], lower[:, None, None]
    across = padded[:, x + 1] * (2048 - right) + padded[:, x + 2] * right
    return ((across[y + 1] * (2048 - lower) + across[y + 2] * lower + (1 << 21)) >> 22).astype(np.uint8)


def quotient(numerator, level):
    return np.rint(np.float32(numerator) / np.maximum(level, 1).astype(np.float32)).astype(np.int64)


def recoloured(levels, hue, saturation, value):
    red, green, blue = (levels[:, :, i].astype(np.int64) for i in range(3))
    v = np.maximum(np.maximum(red, green), blue)
    spread = v - np.minimum(np.minimum(red, green), blue)
    sixths = np.where(v == red, green - blue, np.where(v == green, blue - red + 2 * spread, red - green + 4 * spread))
    s = (spread * quotient(255 << 12, v) + 2048) >> 12
    h = (sixths * quotient(30 << 12, spread) + 2048) >> 12
    h = np.where(h < 0, h + 180, h)

    h = (h + int(np.floor(180 * hue)) % 180) % 180
    s = np.clip(s * (1.0 + saturation), 0, 255).astype(np.int64)
    v = np.clip(v * (1.0 + value), 0, 255).astype(np.int64)

    sixth, rest = h // 30, h % 30
    distance = np.where(sixth % 2 == 0, 30 - rest, rest)
    low, middle = v * (255 - s) // 255, v * (7650 - s * distance) // 7650
    orders = [(v, middle, low), (middle, v, low), (low, v, middle), (low, middle, v), (middle, low, v), (v, low, middle)]
    channels = [np.choose(sixth, [order[i] for order in orders]) for i in range(3)]
    return np.stack(channels, axis=2).astype(np.uint8)


def pixels(levels, image):
    """A view [rows, columns, 3] of the letterboxed picture, RGB levels; `image` is a row of the images table."""
    scale, offset_x, offset_y, flip, *colours = (image[name] for name in NAMES)
    if (scale, offset_x, offset_y) != (1, 0, 0):
        levels = resampled(levels, scale, offset_x, offset_y)
    if flip:
        levels = levels[:, ::-1]
    return recoloured(levels, *colours) if any(colours) else levels


def boxes_to_letterbox(boxes, image, columns):
    """Boxes [n, 4] x1 y1 x2 y2 of the view in pixels of the letterboxed picture."""
    if image["view_flip"]:
        boxes = np.stack([columns - boxes[:, 2], boxes[:, 1], columns - boxes[:, 0], boxes[:, 3]], axis=1)
    return (boxes - np.array([image["view_offset_x"], image["view_offset_y"]] * 2)) / image["view_scale"]
