"""`logitcache.ultralytics`: what its trainer does beside Ultralytics' own. Needs the full
environment: `make test-torch`.
"""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import logitcache
import numpy as np
import pytest
from conftest import FIXTURES, ROOT, TEACHER, run

try:
    import torch
    import ultralytics
except (ImportError, OSError) as error:
    pytest.skip(f"Ultralytics cannot be imported ({error}): see `make test-torch`", allow_module_level=True)

import one_of_several
from logitcache._native import TrainingSet
from logitcache.torch import Anchors, DistillLoss, TeacherTargets
from logitcache.ultralytics import DistillTrainer
from logitcache.ultralytics.criterion import TEACHER_LOSSES, DistillCriterion
from logitcache.ultralytics.exact import ExactImages, ExactLoader, as_batch
from logitcache.ultralytics.free import Placed, Teacher
from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

SIDE = 160


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    torch.set_num_threads(1)
    monkeypatch.setattr("ultralytics.utils.torch_utils.NUM_THREADS", 1)


@pytest.fixture(scope="module")
def plain(shapes, tmp_path_factory):
    """A cache of the shapes without views."""
    cache = tmp_path_factory.mktemp("plain") / "cache"
    run("build", "--teacher", TEACHER, "--data", shapes / "data.yaml", "--out", cache)
    return cache


def train(folder, shapes, project, model="yolov8n.yaml", options=None, resume=False, **settings):
    """Trains two epochs; gives the model and the rows of results.csv."""
    defaults = dict(data=str(shapes / "data.yaml"), imgsz=SIDE, epochs=2, batch=4, close_mosaic=1, device="cpu",
                    plots=False, verbose=False, amp=False, project=str(project), name="run", exist_ok=True)
    network = YOLO(model)
    trainer = DistillTrainer.with_cache(folder, **(options or {}))
    network.train(trainer=trainer, **({"resume": True} if resume else {**defaults, **settings}))
    with open(network.trainer.csv, encoding="utf-8") as file:
        return network, list(csv.DictReader(file))


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml"])
@pytest.mark.parametrize("geometry", ["exact", "free"])
def test_students_train_and_their_results_have_the_teachers_losses(built, plain, shapes, tmp_path, model, geometry):
    cache = built if geometry == "exact" else plain
    network, rows = train(cache, shapes, tmp_path, model, {"geometry": geometry})
    assert len(rows) == 2
    bins = model != "yolo26n.yaml"
    for row in rows:
        teacher = [float(row[f"train/{name}"]) for name in TEACHER_LOSSES]
        assert teacher[0] > 0 and teacher[1] > 0 and (teacher[2] > 0) == bins
        assert "val/box_loss" in row and not any(name.startswith("val/teach") for name in row)
    weights = torch.load(tmp_path / "run/weights/best.pt", weights_only=False)["model"]
    assert not hasattr(weights, "criterion") or weights.criterion is None
    assert isinstance(network.trainer.model.criterion.task, v8DetectionLoss if bins else E2ELoss)
    # What is saved is a model of Ultralytics, which loads without this package.
    assert type(weights).__module__ == "ultralytics.nn.tasks"


def test_other_losses_and_parts_train(plain, shapes, tmp_path):
    _, rows = train(plain, shapes, tmp_path, options={"cls_loss": "bckd", "distill": "cls", "alpha": 0.5}, epochs=1)
    assert float(rows[0]["train/teach_cls"]) > 0 and float(rows[0]["train/teach_box"]) == 0


def test_kept_pixels_train_the_same(plain, shapes, tmp_path):
    _, decoded = train(plain, shapes, tmp_path / "a", epochs=1)
    _, kept = train(plain, shapes, tmp_path / "b", epochs=1, cache="ram")
    assert list((tmp_path / "b/run/pixels").iterdir())
    assert [row["train/teach_cls"] for row in decoded] == [row["train/teach_cls"] for row in kept]


class Killed(Exception):
    pass


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo26n.yaml"])
def test_a_run_is_resumed(plain, shapes, tmp_path, monkeypatch, model):
    _, whole = train(plain, shapes, tmp_path / "whole", model, epochs=3)
    begun = DistillTrainer._model_train

    def stop(self):
        if self.epoch == 2:
            raise Killed
        begun(self)

    monkeypatch.setattr(DistillTrainer, "_model_train", stop)
    with pytest.raises(Killed):
        train(plain, shapes, tmp_path, model, epochs=3)
    monkeypatch.undo()
    last = tmp_path / "run/weights/last.pt"
    for options in ({"alpha": 0.6}, {"geometry": "free"}):
        with pytest.raises(logitcache.Error, match=next(iter(options))):
            train(plain, shapes, tmp_path, str(last), options, resume=True)
    record = tmp_path / "run/distillation.json"
    record.rename(tmp_path / "elsewhere.json")
    with pytest.raises(logitcache.Error, match="was not begun with a cache"):
        train(plain, shapes, tmp_path, str(last), resume=True)
    (tmp_path / "elsewhere.json").rename(record)
    network, rows = train(plain, shapes, tmp_path, str(last), resume=True)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and isinstance(network.trainer.model.criterion, DistillCriterion)
    if model == "yolo26n.yaml":
        assert network.trainer.model.criterion.task.updates == 3
    # Ultralytics keeps averaged weights in half precision: the loss is near what it would be.
    assert float(rows[2]["train/teach_box"]) == pytest.approx(float(whole[2]["train/teach_box"]), rel=0.1)


def loader(cache, **options):
    images = ExactImages(TrainingSet(cache), logitcache.Cache(cache))
    defaults = dict(batch=4, seed=3, epoch=lambda: 2, mosaic=lambda _: True, threads=2)
    return ExactLoader(images, **{**defaults, **options})


def test_exact_batches_are_those_of_train(plain):
    found, images = loader(plain), TrainingSet(plain)
    order = images.order(3, 2).tolist()
    batches = list(found)
    assert len(batches) == len(found) == -(-len(images) // 4)
    for number, batch in enumerate(batches):
        arrays = images.batch(order[4 * number : 4 * number + 4], 3, 2, True, True)
        assert np.array_equal(batch["img"].permute(0, 2, 3, 1), arrays["pixels"])
        expected = TeacherTargets.of_arrays(arrays)
        for name, value in vars(batch["teacher"]).items():
            assert np.array_equal(value, getattr(expected, name), equal_nan=True), name
        assert np.array_equal(batch["cls"][:, 0], arrays["label_class_id"])
        assert np.array_equal(batch["batch_idx"], arrays["label_batch_index"])
        centre, side = batch["bboxes"][:, :2] * SIDE, batch["bboxes"][:, 2:] * SIDE
        corners = torch.cat([centre - side / 2, centre + side / 2], 1)
        np.testing.assert_allclose(corners, arrays["label_boxes_xyxy_input_px"], atol=1e-4)


def test_several_processes_see_the_batches_of_one(plain):
    one = list(loader(plain, batch=4))
    parts = [list(loader(plain, batch=2, rank=rank, world=2)) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == len(one) == len(loader(plain, batch=2, rank=1, world=2))
    for whole, *halves in zip(one, *parts, strict=True):
        files = [file for half in halves for file in half["im_file"]]
        assert files[: len(whole["im_file"])] == whole["im_file"]
        assert torch.equal(torch.cat([half["img"] for half in halves])[: len(whole["img"])], whole["img"])
        assert len({len(half["im_file"]) for half in halves}) == 1
    assert len(list(loader(plain, batch=4, drop_last=True))) == len(TrainingSet(plain)) // 4


def in_processes(world, *arguments):
    """Runs `one_of_several.py` in so many processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "python/tests/one_of_several.py"), *map(str, arguments)]
    started = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    for process in started:
        assert process.wait(600) == 0, process.stderr.read()[-4000:]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_gradients_of_several_processes_are_those_of_their_images_in_one(plain, tmp_path, world):
    in_processes(world, "gradients", plain, 4, tmp_path / "out")
    found = [np.load(tmp_path / f"out-{rank}.npz") for rank in range(world)]
    expected = {}
    for rank in range(world):
        part = one_of_several.gradients(one_of_several.student(), one_of_several.first_batch(plain, 4, rank, world), 1)
        for name, value in part.items():
            expected[name] = expected.get(name, 0) + value
    assert len(expected) > 100 and all(set(each.files) == set(expected) for each in found)
    largest = max(np.abs(value).max() for value in expected.values())
    for name, value in expected.items():
        for each in found:
            np.testing.assert_allclose(each[name], value, rtol=1e-4, atol=1e-6 * largest, err_msg=name)


def test_several_processes_train_one_student(plain, shapes, tmp_path):
    in_processes(2, "train", plain, shapes / "data.yaml", tmp_path, 2)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    seen = [[file for epoch, files in rank["seen"] for file in files if epoch == 0] for rank in ranks]
    images = {str(path) for _, path in TrainingSet(plain).images}
    assert set(seen[0]) | set(seen[1]) == images and len(seen[0]) == len(seen[1])
    with open(tmp_path / "run/results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and all(float(row[f"train/{name}"]) > 0 for row in rows for name in TEACHER_LOSSES)


def head_outputs(batch, classes=6, reg_max=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    feats = [torch.zeros(batch, 1, SIDE // s, SIDE // s) for s in (8, 16, 32)]
    count = sum(f[0, 0].numel() for f in feats)
    boxes = torch.randn(batch, 4 * reg_max, count, generator=random)
    scores = torch.randn(batch, classes, count, generator=random) - 4
    return {"boxes": boxes, "scores": scores, "feats": feats}


def test_the_loss_is_alpha_of_the_labels_and_the_rest_of_the_teacher(plain):
    model = DetectionModel("yolov8n.yaml", nc=6, verbose=False)
    model.args = get_cfg()
    batch, preds = next(iter(loader(plain))), head_outputs(4)
    task, distill = model.init_criterion(), DistillLoss("bckd")
    of_labels = task(preds, batch)[0].sum().detach()
    anchors = Anchors.of_grid((SIDE, SIDE))
    of_teacher = distill(preds["scores"], preds["boxes"], anchors, batch["teacher"])
    for alpha in (0.0, 0.3, 1.0):
        loss, items = DistillCriterion(task, distill, alpha)(preds, batch)
        expected = alpha * of_labels + (1 - alpha) * of_teacher.total
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
        assert [float(items[name]) for name in TEACHER_LOSSES] == [
            float(part) for part in (of_teacher.box, of_teacher.cls, of_teacher.dfl)
        ]
    # Of an image without labels the teacher's loss counts whole, and the labels' nothing.
    batch["labelled"] = torch.tensor([True, False, True, False])
    own = batch["labelled"][batch["batch_idx"].long()]
    some = {**batch, "cls": batch["cls"][own], "bboxes": batch["bboxes"][own], "batch_idx": batch["batch_idx"][own]}
    loss, _ = DistillCriterion(task, distill, 0.3)(preds, some)
    rows = [0, 2]
    fewer = {**some, "batch_idx": torch.where(some["batch_idx"] == 2, 1.0, 0.0)}
    of_two = task({**preds, "boxes": preds["boxes"][rows], "scores": preds["scores"][rows]}, fewer)[0].sum()
    weight = torch.tensor([0.7, 1.0, 0.7, 1.0])
    taught = distill(preds["scores"], preds["boxes"], anchors, batch["teacher"], weight).total
    assert float(loss) == pytest.approx(float(0.3 * of_two * 2 + taught), rel=1e-5)
    none = {**some, "labelled": torch.zeros(4, dtype=torch.bool), "cls": some["cls"][:0], "bboxes": some["bboxes"][:0],
            "batch_idx": some["batch_idx"][:0]}
    assert float(DistillCriterion(task, distill, 0.3)(preds, none)[0]) == pytest.approx(float(of_teacher.total), rel=1e-5)


def free_dataset(plain, shapes, tmp_path, **settings):
    """The data set of a trainer with the geometry free."""
    overrides = dict(model="yolov8n.yaml", data=str(shapes / "data.yaml"), imgsz=SIDE, epochs=1, batch=4, device="cpu",
                     project=str(tmp_path), name="run", exist_ok=True, plots=False, **settings)
    trainer = DistillTrainer.with_cache(plain, geometry="free")(overrides=overrides)
    trainer.model = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]))
    return trainer.build_dataset(trainer.data["train"], "train", 4)


@pytest.mark.parametrize("settings", [{}, {"mosaic": 0.0}, {"flipud": 0.5, "translate": 0.3, "scale": 0.9}])
def test_images_are_where_free_says_they_are(plain, shapes, tmp_path, settings):
    """Ultralytics moves the labels: each must lie where the recorded map puts it."""
    dataset, images, cache = free_dataset(plain, shapes, tmp_path, **settings), TrainingSet(plain), logitcache.Cache(plain)
    position = {str(path): index for index, (_, path) in enumerate(images.images)}
    seen = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        placed = sample["placed"]
        assert len(placed) == (1 if settings.get("mosaic") == 0.0 else 4)
        expected = []
        for one in placed:
            class_ids, boxes = images.labels(position[dataset.im_files[one.index]])
            corners = boxes.reshape(-1, 2, 2) * one.scale + one.offset
            low, high = np.maximum(one.area[:2], 0), np.minimum(one.area[2:], SIDE)
            corners = np.clip(np.stack([corners.min(1), corners.max(1)], 1), low, np.maximum(high, low))
            expected += [(int(c), *box.ravel()) for c, box in zip(class_ids, corners, strict=True)]
        centre, side = sample["bboxes"][:, :2] * SIDE, sample["bboxes"][:, 2:] * SIDE
        found = torch.cat([sample["cls"], centre - side / 2, centre + side / 2], 1).numpy()
        for label in found:
            seen += 1
            assert np.abs(np.array(expected) - label).max(1).min() < 0.05, label
    assert seen > 20
    batch = dataset.collate_fn([dataset[0], dataset[1], dataset[2]])
    assert len(batch["teacher"]) == 3 and "placed" not in batch and cache.path


def still(image, side=SIDE):
    """An image in its letterbox."""
    box = image.letterbox
    offset = np.array([box.pad_left, box.pad_top], np.float64)
    size = np.array([image.width, image.height])
    return Placed(0, np.rint(size * (side / size).min()) / size, offset, np.array([0.0, 0, side, side]))


@pytest.mark.parametrize("flip", [False, True])
def test_without_a_change_of_scale_free_is_exact(plain, flip):
    cache, images = logitcache.Cache(plain), TrainingSet(plain)
    for index, (image_id, _) in enumerate(images.images):
        image = cache.image(image_id)
        placed = still(image).then((-1, 1), (SIDE, 0)) if flip else still(image)
        found = Teacher(cache, [image_id]).targets([placed])
        expected = TeacherTargets.of_arrays(images.batch([index], 0, 0, False, False))
        anchors = expected.anchor
        boxes, dfl = expected.boxes, expected.dfl_logits.view(-1, 4, 16)
        if flip:
            starts = [(0, 20), (400, 10), (500, 5)]
            anchors = torch.tensor([
                next(first + (a - first) // n * n + n - 1 - (a - first) % n for first, n in reversed(starts) if a >= first)
                for a in anchors.tolist()
            ])
            boxes = torch.stack([SIDE - boxes[:, 2], boxes[:, 1], SIDE - boxes[:, 0], boxes[:, 3]], 1)
            dfl = dfl[:, [2, 1, 0, 3]]
        order, own = anchors.argsort(), found.anchor.argsort()
        assert torch.equal(found.anchor[own], anchors[order])
        assert torch.equal(found.score[own], expected.score[order])
        assert torch.equal(found.class_logits[own], expected.class_logits[order])
        np.testing.assert_allclose(found.boxes[own], boxes[order], atol=2e-2)
        shared, whole = found.dfl_logits[own].view(-1, 4, 16).softmax(2), dfl[order].softmax(2)
        np.testing.assert_allclose(shared, whole, atol=1e-4)
        assert torch.equal(found.floor_prob, expected.floor_prob)
        assert float(found.dropped_score_sum) == pytest.approx(float(expected.dropped_score_sum), rel=1e-5)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.0])
def test_logits_go_to_the_anchor_that_fits(plain, factor):
    cache = logitcache.Cache(plain)
    image = max(cache, key=len)
    teacher = Teacher(cache, [image.image_id])
    # Changed in size about the middle.
    middle = SIDE * (1 - factor) / 2
    placed = still(image).then(factor, middle)
    found = teacher.targets([placed])
    assert 0 < len(found.anchor) == len(found.anchor.unique())
    row_of = {float(score): row for row, score in enumerate(image.score)}
    assert len(row_of) == len(image), "a score names its row"
    for at, anchor in enumerate(found.anchor.tolist()):
        row = row_of[float(found.score[at])]
        stride, centre = teacher._stride[anchor], teacher._centre[anchor]
        assert np.array_equal(found.class_logits[at], image.all_class_logits[row])
        # The student's anchor shows a place in the cell of the teacher's.
        away = np.abs((centre - middle) / factor - teacher._centre[image.anchor[row]])
        assert (away <= teacher._stride[image.anchor[row]] / 2 + 1e-9).all()
        whole = (image.boxes[row, :2] > 0).all() and (image.boxes[row, 2:] < (image.width, image.height)).all()
        if whole:
            box = (image.boxes[row].reshape(2, 2) * placed.scale + placed.offset).ravel()
            np.testing.assert_allclose(found.boxes[at], box, atol=1e-3)
            # The bins say the same box, where it is within their reach.
            distances = found.dfl_logits[at].view(4, 16).softmax(1) @ torch.arange(16.0)
            said = np.tile(centre, 2) + np.array([-1, -1, 1, 1]) * distances.numpy() * stride
            reach = np.abs(box - np.tile(centre, 2)) < 14 * stride
            outward = (box - np.tile(centre, 2)) * [-1, -1, 1, 1] > 0
            assert np.abs(said - box)[reach & outward].max(initial=0) < stride


def test_the_type_travels_with_its_options(plain):
    cloudpickle = pytest.importorskip("cloudpickle")
    import pickle

    trainer = DistillTrainer.with_cache(plain, alpha=0.4, cls_loss="bce")
    copy = pickle.loads(cloudpickle.dumps(trainer))
    assert copy.distillation == trainer.distillation and issubclass(copy, DistillTrainer)
    with pytest.raises(logitcache.Error, match="no cache"):
        DistillTrainer()
    for wrong in ({"alpha": 1.5}, {"geometry": "loose"}, {"cls_loss": "mse"}, {"temperature": 0}):
        with pytest.raises(ValueError):
            DistillTrainer.with_cache(plain, **wrong)


def test_what_does_not_fit_is_refused_before_training(plain, shapes, tmp_path):
    def refused(match, folder=plain, data=shapes, **rest):
        with pytest.raises(logitcache.Error, match=match) as caught:
            train(folder, data, tmp_path, **rest)
        assert caught.value.found and caught.value.remedy

    refused("128 x 128 pixels, the cache was built at 160", imgsz=128)
    teacher, names = FIXTURES / "models/yolov8-dynamic.onnx", tmp_path / "names.txt"
    names.write_text("\n".join(logitcache.Cache(plain).class_names))
    wide = ["--imgsz", "96x160", "--names", names, "--out", tmp_path / "wide"]
    run("build", "--teacher", teacher, "--data", shapes / "data.yaml", *wide)
    refused(r"built at 96 x 160 pixels \(height x width\), and Ultralytics trains on squares", folder=tmp_path / "wide", imgsz=160)
    refused("strides", model="yolov8n-p2.yaml")
    refused("`degrees=10.0`", degrees=10.0)
    refused("`fraction=0.5`", fraction=0.5)
    refused("cannot follow `mixup=0.5`", mixup=0.5, options={"geometry": "free"})
    refused("multi_scale", multi_scale=0.5)
    other = tmp_path / "other"
    shutil.copytree(shapes, other)
    text = (other / "data.yaml").read_text()
    (other / "data.yaml").write_text(text.replace("circle", "disc"))
    refused("class 0 is 'disc' in the data set and 'circle' of the teacher", data=other)
    (other / "data.yaml").write_text(text)
    victim = sorted((other / "images/train").iterdir())[0]
    victim.rename(other / "images/train/zzz.jpg")
    refused("not in the data set", data=other)
    refused("not in the data set", data=other, options={"geometry": "free"})
    unfinished = tmp_path / "unfinished"
    shutil.copytree(plain, unfinished)
    (unfinished / "manifest.json").unlink()
    refused("unfinished", folder=unfinished)
    assert not (tmp_path / "run/weights/last.pt").exists()


def test_the_record_names_cache_and_options(plain, shapes, tmp_path):
    train(plain, shapes, tmp_path, epochs=1, options={"alpha": 0.5})
    record = json.loads((tmp_path / "run/distillation.json").read_text())
    assert record["cache_sha256"] == logitcache.Cache(plain).content_sha256
    assert record["alpha"] == 0.5 and record["geometry"] == "exact"


def test_a_batch_of_the_native_module_is_one_of_ultralytics(plain):
    images = TrainingSet(plain)
    batch = as_batch(images.batch([0, 1], 0, 0, False, False), ["a", "b"])
    assert batch["img"].shape == (2, 3, SIDE, SIDE) and batch["img"].dtype == torch.uint8
    assert batch["bboxes"].dtype == batch["cls"].dtype == batch["batch_idx"].dtype == torch.float32
    assert ultralytics.__version__
