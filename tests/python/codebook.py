"""The values of logits of 8 bits, by docs/format.md ("Logits of 8 bits"), and the rounding to them."""

import numpy as np


def stretches(*parts):
    """(first, how many, step) after one another."""
    return np.concatenate([first + step * np.arange(count) for first, count, step in parts])


CLASS = stretches((-24, 16, 0.5), (-16, 32, 0.25), (-8, 192, 0.0625), (4, 16, 0.5))
DFL = stretches((-31.75, 63, 0.25), (-16, 64, 0.125), (-8, 129, 0.0625))


def nearest(values, book):
    """The nearest value of the book to each, the lower of two that are equally near."""
    high = np.clip(np.searchsorted(book, values), 1, len(book) - 1)
    low = high - 1
    return np.where(values - book[low] <= book[high] - values, book[low], book[high])


def lowered(dfl):
    """DFL logits [rows, 4 * bins] with each side's highest at 0."""
    sides = dfl.reshape(len(dfl), 4, -1)
    return (sides - sides.max(axis=2, keepdims=True)).reshape(dfl.shape)
