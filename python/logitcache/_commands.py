"""The commands of the program as functions: the same arguments, the report as a dictionary.

Each runs in this process, on every processor, until it is done. Ctrl-C ends it as it ends the program: finished work is
kept. What the program would say goes to the logger ``logitcache``; what it warns of, to `warnings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from . import _native
from ._error import Error
from ._install import run_from_package
from ._progress import Listener, Progress

StrPath = str | os.PathLike[str]
InputSize = int | tuple[int, int] | str
Provider = Literal["cpu", "openvino", "cuda", "tensorrt"]
MissingLabels = Literal["background", "unlabelled"]
DataFormat = Literal["yolo", "coco", "voc", "cvat", "label-studio"]
IssueKind = Literal["missing", "location", "class", "spurious", "duplicate"]
Family = Literal["rt-detr", "rt-detr-hf", "detr", "rt-detr-ultralytics", "rf-detr", "yolox", "yolo-nas", "yolov5", "yolov8"]


def build(
    teacher: StrPath,
    data: StrPath,
    out: StrPath,
    *,
    images: StrPath | None = None,
    split: str | None = None,
    names: StrPath | None = None,
    map: Mapping[str, str] | None = None,
    ignore_labels: bool = False,
    missing_labels: MissingLabels | None = None,
    coverage: float | None = None,
    class_coverage: float | None = None,
    top_k: int | None = None,
    min_score: float | None = None,
    logits: Literal["8bit", "8bit-dfl", "float16"] | None = None,
    store: Literal["all", "cls"] | None = None,
    profile: Literal["mapped", "dense"] | None = None,
    views: int | None = None,
    seed: int | None = None,
    imgsz: InputSize | None = None,
    family: Family | None = None,
    input_rule: str | None = None,
    batch: int | None = None,
    jobs: int | None = None,
    provider: Provider | None = None,
    ort_lib: StrPath | None = None,
    images_per_part: int | None = None,
    shard: str | None = None,
    overwrite: bool = False,
    progress: Progress = True,
) -> dict[str, Any]:
    """Run the teacher over a data set and store its outputs in a cache.

    A build that was interrupted goes on with the same call. What is None has the program's default
    (``logitcache build --help``).

    Parameters
    ----------
    teacher : str or os.PathLike
        An ONNX export of a detector.
    data : str or os.PathLike
        A data.yaml, a COCO instances.json, a folder of Pascal VOC XML, or a folder of images.
    out : str or os.PathLike
        Folder of the cache.
    images : str or os.PathLike, optional
        Folder of the images (COCO and VOC, if they are not beside the labels).
    split : str, optional
        Split of a data.yaml, or a list of a VOC release.
    names : str or os.PathLike, optional
        File of class names, one per line, for a model without metadata.
    map : mapping of str to str, optional
        Classes of the data set that are a class of the teacher under another name, each with that name.
    ignore_labels : bool, optional
        Do not read or store labels.
    missing_labels : {"background", "unlabelled"}, optional
        What an image without a label file means.
    coverage : float, optional
        Keep anchors until they hold this fraction of the image's total squared score.
    class_coverage : float, optional
        Store class logits of the best anchors, up to this fraction of the total squared score.
    top_k : int, optional
        Keep at most this many anchors of an image.
    min_score : float, optional
        Keep only anchors whose highest class probability is at least this.
    logits : {"8bit", "8bit-dfl", "float16"}, optional
        Number type of the stored logits.
    store : {"all", "cls"}, optional
        Which logits are stored.
    profile : {"mapped", "dense"}, optional
        Selected anchors, or every anchor with logits as float16.
    views : int, optional
        Augmented copies of each image to cache as well.
    seed : int, optional
        Random seed for `views`.
    imgsz : int or (int, int) or str, optional
        Input size in pixels: 640 (a square), or (480, 640) or "480x640" (height, width).
    family : {"rt-detr", "rt-detr-hf", "detr", "rt-detr-ultralytics", "rf-detr", "yolox", "yolo-nas", "yolov5", "yolov8"}, optional
        Family of the model, where its file leaves that open.
    input_rule : str, optional
        How images become the model's input, if not as its family says: words such as "stretch", "bgr", "0-255", joined by commas.
    batch : int, optional
        Images per run of the teacher.
    jobs : int, optional
        Worker threads.
    provider : {"cpu", "openvino", "cuda", "tensorrt"}, optional
        Execution provider; one that is not available is an error.
    ort_lib : str or os.PathLike, optional
        The ONNX Runtime library, if not that of the package onnxruntime.
    images_per_part : int, optional
        Images per pair of Parquet files.
    shard : str, optional
        "3/64": build this piece of the cache only; other processes, on this machine or on others, build the rest into `out`.
    overwrite : bool, optional
        Remove the cache at `out` and start again.
    progress : bool or callable, optional
        True: a bar, where tqdm is installed. A function is called with how much is through, how much there is, and the
        unit.

    Returns
    -------
    dict
        The report (``schemas/build.schema.json``). Images that failed are among its ``failures``.

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`, and with `report` if the work was begun.
    """
    return _call("build", {**locals()})


def audit(
    cache: StrPath,
    teacher: StrPath,
    *,
    substitute: bool = False,
    data: StrPath | None = None,
    images: StrPath | None = None,
    student: StrPath | None = None,
    family: Family | None = None,
    sample: int | None = None,
    min_cosine: float | None = None,
    temperature: float | None = None,
    jobs: int | None = None,
    provider: Provider | None = None,
    ort_lib: StrPath | None = None,
    progress: Progress = True,
) -> dict[str, Any]:
    """Compare training gradients from a cache with those of the live teacher.

    Parameters
    ----------
    cache : str or os.PathLike
        Folder of the cache.
    teacher : str or os.PathLike
        The teacher that it was built with.
    substitute : bool, optional
        Accept that it was built with a substitute for the teacher, such as its quantized file, and judge
        that by its gradients.
    data : str or os.PathLike, optional
        The data set, if it has moved since the build.
    images : str or os.PathLike, optional
        Folder of the images (COCO and VOC, if they are not beside the labels).
    student : str or os.PathLike, optional
        Take the gradients at this student's outputs.
    family : str, optional
        As of `build`.
    sample : int, optional
        Number of images to compare; 0: all.
    min_cosine : float, optional
        Lowest mean cosine at which a loss passes.
    temperature : float, optional
        Temperature of softmax-kl and of the DFL loss.
    jobs, provider, ort_lib, progress
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/audit.schema.json``). ``report["passed"]`` says whether every loss passed.

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("audit", {**locals()}, positional=("cache",))


def eval(
    model: StrPath | Sequence[StrPath],
    data: StrPath,
    *,
    images: StrPath | None = None,
    split: str | None = None,
    map: Mapping[str, str] | None = None,
    missing_labels: MissingLabels | None = None,
    conf: float | None = None,
    iou: float | None = None,
    names: StrPath | None = None,
    imgsz: InputSize | None = None,
    family: Family | None = None,
    input_rule: str | None = None,
    jobs: int | None = None,
    provider: Provider | None = None,
    ort_lib: StrPath | None = None,
    latency_runs: int | None = None,
    out: StrPath | None = None,
    overwrite: bool = False,
    progress: Progress = True,
) -> dict[str, Any]:
    """Score models on labelled images: mAP, recall of small objects, size, latency.

    Parameters
    ----------
    model : str, os.PathLike or sequence of these
        ONNX exports of detectors; further ones are compared with the first.
    data : str or os.PathLike
        A data.yaml, a COCO instances.json, or a folder of Pascal VOC XML.
    images, split, map, missing_labels, names, imgsz, family, input_rule
        As of `build`.
    conf : float, optional
        Lowest class probability of a detection.
    iou : float, optional
        IoU above which NMS removes the lower-scoring box of a class.
    latency_runs : int, optional
        Number of timed runs; 0: do not measure latency.
    out : str or os.PathLike, optional
        Folder for eval.json, eval.csv and eval.md.
    overwrite : bool, optional
        Replace other files of these names too.
    jobs, provider, ort_lib, progress
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/eval.schema.json``).

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("eval", {**locals()})


def issues(
    cache: StrPath,
    *,
    data: StrPath | None = None,
    images: StrPath | None = None,
    method: Literal["soft", "objectlab", "fiftyone"] | None = None,
    kind: IssueKind | Sequence[IssueKind] | None = None,
    top: int | None = None,
    out: StrPath | None = None,
    pictures: int | None = None,
    progress: Progress = True,
) -> dict[str, Any]:
    """Find label errors with what the cache knows of the teacher; no model is run.

    Parameters
    ----------
    cache : str or os.PathLike
        Folder of a finished cache.
    data : str or os.PathLike, optional
        Judge the labels that this data set has now, instead of those in the cache.
    images : str or os.PathLike, optional
        Folder of the images, as of `build`.
    method : str, optional
        How suspicion is computed.
    kind : str or sequence of str, optional
        Look only for these kinds.
    top : int, optional
        Most issues, and most images, in the report.
    out : str or os.PathLike, optional
        Folder to create for the review page and the files for annotation tools.
    pictures : int, optional
        Most pictures on the page.
    progress : bool or callable, optional
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/issues.schema.json``).

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("issues", {**locals()}, positional=("cache",))


def label(
    cache: StrPath,
    to: DataFormat,
    out: StrPath,
    *,
    data: StrPath | None = None,
    images: StrPath | None = None,
    labelled: StrPath | None = None,
    list: StrPath | None = None,
    precision: float | None = None,
    conf: float | None = None,
    uncertain: float | None = None,
    add_missing: bool = False,
    link: bool = False,
    progress: Progress = True,
) -> dict[str, Any]:
    """Write a data set with pseudo-labels; labels of people stay, and no model is run.

    Parameters
    ----------
    cache : str or os.PathLike
        Folder of a finished cache.
    to : str
        Format to write.
    out : str or os.PathLike
        Folder to create; it must not exist.
    data : str or os.PathLike, optional
        The data set, if it has moved or has other labels since the build.
    images : str or os.PathLike, optional
        Folder of the images, as of `build`.
    labelled : str or os.PathLike, optional
        Text file of the only images whose labels count.
    list : str or os.PathLike, optional
        Text file of the only images to write.
    precision : float, optional
        Wanted precision of the labels; the score threshold of each class follows from it.
    conf : float, optional
        One lowest score for all classes instead.
    uncertain : float, optional
        Other boxes are marked as uncertain if they are right with at least this probability.
    add_missing : bool, optional
        Add the teacher's boxes to images with labels too, where they overlap no label.
    link : bool, optional
        Hard-link image files where the file system can.
    progress : bool or callable, optional
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/label.schema.json``).

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("label", {**locals()}, positional=("cache",))


def quantize(
    model: StrPath,
    cache: StrPath,
    out: StrPath,
    *,
    data: StrPath | None = None,
    images: StrPath | None = None,
    split: str | None = None,
    sample: int | None = None,
    calibration: Literal["divergence", "min-max", "percentile", "entropy", "mse"] | None = None,
    keep_float: float | None = None,
    placement: Literal["operators", "layer-inputs"] | None = None,
    names: StrPath | None = None,
    family: Family | None = None,
    input_rule: str | None = None,
    imgsz: InputSize | None = None,
    jobs: int | None = None,
    provider: Provider | None = None,
    ort_lib: StrPath | None = None,
    latency_runs: int | None = None,
    overwrite: bool = False,
    progress: Progress = True,
) -> dict[str, Any]:
    """Write a detector as an ONNX file with 8-bit integers, calibrated on the images of a cache.

    Parameters
    ----------
    model : str or os.PathLike
        A float32 ONNX export of a detector.
    cache : str or os.PathLike
        Folder of a finished cache; its teacher may be another model.
    out : str or os.PathLike
        The file to write; a file of an earlier call is replaced.
    data : str or os.PathLike, optional
        Labelled data set to score on; without it the model's own detections stand for labels.
    images : str or os.PathLike, optional
        Folder of its images, as of `build`.
    split : str, optional
        Split of the data set to score on.
    sample : int, optional
        Number of images on which the ranges of the activations are measured.
    calibration : str, optional
        How the range of each activation is chosen.
    keep_float : float, optional
        Share of the multiply-adds that may stay float32, in the layers that rounding harms most.
    placement : str, optional
        Which tensors are rounded.
    names, family, input_rule, imgsz, jobs, provider, ort_lib : optional
        As of `predict`.
    latency_runs : int, optional
        Number of timed runs of both models; 0 measures none.
    overwrite : bool, optional
        Replace another file at `out` too.
    progress : bool or callable, optional
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/quantize.schema.json``).

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("quantize", {**locals()}, positional=("model",))


def select(
    cache: StrPath,
    budget: int,
    *,
    method: Literal["combined", "uncertainty", "disagreement", "balance", "diversity", "random"] | None = None,
    labelled: StrPath | None = None,
    seed: int | None = None,
    data: StrPath | None = None,
    images: StrPath | None = None,
    out: StrPath | None = None,
    to: DataFormat | None = None,
    link: bool = False,
    progress: Progress = True,
) -> dict[str, Any]:
    """Choose the images to label next with what the cache knows of the teacher; no model is run.

    Parameters
    ----------
    cache : str or os.PathLike
        Folder of a finished cache.
    budget : int
        Number of images to choose.
    method : str, optional
        What makes an image worth a label.
    labelled : str or os.PathLike, optional
        Text file of the images that have labels already.
    seed : int, optional
        Random seed of the method ``random``.
    data : str or os.PathLike, optional
        The data set, if it has moved since the build.
    images : str or os.PathLike, optional
        Folder of the images, as of `build`.
    out : str or os.PathLike, optional
        Folder to create for the chosen images as a data set.
    to : str, optional
        Format of the data set.
    link : bool, optional
        Hard-link image files where the file system can.
    progress : bool or callable, optional
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/select.schema.json``).

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("select", {**locals()}, positional=("cache",))


def predict(
    pictures: StrPath | Sequence[StrPath],
    model: StrPath,
    *,
    conf: float | None = None,
    iou: float | None = None,
    names: StrPath | None = None,
    imgsz: InputSize | None = None,
    family: Family | None = None,
    input_rule: str | None = None,
    jobs: int | None = None,
    provider: Provider | None = None,
    ort_lib: StrPath | None = None,
    out: StrPath | None = None,
    save_conf: bool = False,
    overwrite: bool = False,
    progress: Progress = True,
) -> dict[str, Any]:
    """Detect objects in images.

    Parameters
    ----------
    pictures : str, os.PathLike or sequence of these
        Images, and folders of images.
    model : str or os.PathLike
        An ONNX export of a detector.
    conf : float, optional
        Lowest score of a detection.
    iou : float, optional
        IoU above which NMS removes the lower-scoring box of a class.
    out : str or os.PathLike, optional
        Folder for images with boxes, label files and COCO results.
    save_conf : bool, optional
        Write the score as a sixth column of the label files.
    overwrite : bool, optional
        Write into a folder that holds other files too.
    names, imgsz, family, input_rule, jobs, provider, ort_lib, progress
        As of `build`.

    Returns
    -------
    dict
        The report (``schemas/predict.schema.json``).

    Raises
    ------
    logitcache.Error
        With `found` and `remedy`.
    """
    return _call("predict", {**locals()}, positional=("pictures",))


def verify(cache: StrPath, *, progress: Progress = True) -> dict[str, Any]:
    """Check every byte of a cache against its digest, and every rule of the format.

    Parameters
    ----------
    cache : str or os.PathLike
        Folder of the cache; of an archive as well.
    progress : bool or callable, optional
        As of `build`.

    Returns
    -------
    dict
        What was checked (``schemas/verify.schema.json``).

    Raises
    ------
    logitcache.Error
        If anything is wrong; `report` of the error has all problems.
    """
    report = _call("verify", {**locals()}, positional=("cache",))
    problems = report["problems"]
    if problems:
        found = "; ".join(f"{problem['file']}: {problem['problem']}" for problem in problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        remedy = "Restore these files from a copy, or build the cache again with `overwrite=True`."
        raise Error(found + more, remedy, os.fspath(cache), report)
    return report


def _call(command: str, arguments: dict[str, Any], positional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Runs a command with the arguments of its function."""
    # Not needed to import the package, which is to be quick.
    import json

    run_from_package()
    listener = Listener(arguments.pop("progress"))
    words = [*command.split(), "--json"]
    if isinstance(size := arguments.get("imgsz"), tuple):
        arguments["imgsz"] = "x".join(map(str, size))
    for name, value in arguments.items():
        if name not in positional:
            words += _option("--" + name.replace("_", "-"), value)
    # Whatever follows is no option, even if it begins like one.
    words.append("--")
    for name in positional:
        words += _each(os.fspath, arguments[name])
    try:
        text, error = _native.call(words, listener)
    finally:
        listener.close()
    report: dict[str, Any] = json.loads(text) if text else {}
    if error is not None:
        error.report = report or None
        raise error
    return report


def _option(flag: str, value: Any) -> list[str]:
    """The words for an option; None and False are those that were not given."""
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, Mapping):
        value = [f"{own}={other}" for own, other in value.items()]
    return [f"{flag}={one}" for one in _each(_text, value)]


def _each(function: Any, value: Any) -> Iterable[str]:
    """The function of a value, or of each in a sequence of values."""
    return [function(one) for one in value] if isinstance(value, Sequence) and not isinstance(value, str) else [function(value)]


def _text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
