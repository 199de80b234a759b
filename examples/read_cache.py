"""Read one image of a cache with pyarrow and numpy alone.

usage: read_cache.py CACHE [IMAGE_ID]

Prints the predictions of the image, highest score first, and the probability of every class for the best of them.
`docs/format.md` describes the columns. An archive (`logitcache convert --profile archive`) is read in the same way.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

SHOWN = 10


def open_cache(folder):
    """The manifest, and the two tables as pyarrow data sets: nothing is read from them yet."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    form = manifest["format"]
    if form["name"] != "logitcache" or form["version"] != 1 or set(form["reader_features"]) - {"archive"}:
        sys.exit(f"{folder}: not a cache of format 1, or one with features that this program does not know")
    if not manifest["parts"]:
        sys.exit(f"{folder}: holds no image yet")
    # Only the files that the manifest names belong to the cache.
    tables = [
        ds.dataset([folder / table / f"{part['name']}.parquet" for part in manifest["parts"]], format="parquet")
        for table in ("images", "predictions")
    ]
    return manifest, *tables


def class_distribution(row, rest_mean_prob, classes):
    """The probability of every class for one prediction.

    A prediction of low score has no class logits: the cache keeps the probability of its best class, and for the other
    classes the mean over such predictions of the image.
    """
    logits = row["class_logits"]
    if logits:
        # The classes of a YOLOv8 head are independent: one sigmoid each, so the sum is not 1.
        return 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))
    probabilities = np.full(classes, rest_mean_prob)
    probabilities[row["class_id"]] = row["score"]
    return probabilities


def main():
    parser = argparse.ArgumentParser(description="Show one image of a logitcache cache.")
    parser.add_argument("cache", type=Path, metavar="CACHE")
    parser.add_argument("image_id", type=int, nargs="?", default=0, metavar="IMAGE_ID")
    arguments = parser.parse_args()

    manifest, images, predictions = open_cache(arguments.cache)
    names = manifest["teacher"]["class_names"]

    # View 0 is the image as it is; a cache built with --views has augmented views too.
    this_image = (ds.field("image_id") == arguments.image_id) & (ds.field("view") == 0)
    found = images.to_table(filter=this_image).to_pylist()
    if not found:
        sys.exit(f"{arguments.cache}: no image {arguments.image_id}")
    image = found[0]
    rows = predictions.to_table(filter=this_image).to_pylist()
    rows.sort(key=lambda row: (-row["score"], row["anchor"]))

    print(f"image {image['image_id']}  {image['path']}  {image['width']} x {image['height']}")
    print(f"{len(rows)} predictions, " + (f"{image['label_count']} labels" if image["labelled"] else "not labelled"))
    for row in rows[:SHOWN]:
        box = "  ".join(f"{row[side]:.1f}" for side in ("x1", "y1", "x2", "y2"))
        print(f"anchor {row['anchor']}  {row['score']:.3f}  {names[row['class_id']]}  {box}")

    if rows:
        print(f"\nanchor {rows[0]['anchor']}, probability of each class:")
        probabilities = class_distribution(rows[0], image["rest_mean_prob"], len(names))
        for class_id in np.argsort(-probabilities, kind="stable"):
            print(f"{probabilities[class_id]:.6f}  {names[class_id]}")


if __name__ == "__main__":
    main()
