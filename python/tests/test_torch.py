"""`logitcache.torch` against the goldens of the trainer's losses (tests/fixtures/train) and the
trainer's batches.
"""

import pickle
import re
import shutil
import subprocess
import sys

import logitcache
import numpy as np
import pytest
from conftest import FIXTURES, ROOT, TEACHER, run

try:
    import torch
except (ImportError, OSError) as error:
    # The environment of `make test` has libtorch alone.
    pytest.skip(f"PyTorch cannot be imported ({error}): see `make test-torch`", allow_module_level=True)

from logitcache._native import TrainingSet
from logitcache.torch import (
    Anchors,
    BoxLoss,
    ClassLoss,
    DflLoss,
    DistillDataset,
    DistillLoss,
    TeacherTargets,
    collate,
    dense_targets,
)

CASES = [
    ("distill_softmax-kl", "softmax-kl", "all"),
    ("distill_bckd", "bckd", "all"),
    ("distill_bce", "bce", "all"),
    ("distill_cls", "softmax-kl", "cls"),
]
RELATIVE = 1e-5


def noise(shape, first):
    """As `noise` in tests/fixtures/train/generate.py and trainer/tests/train_reference."""
    i = np.arange(first, first + int(np.prod(shape)), dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(2_654_435_761) + np.uint64(12_345)) & mask
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(2_246_822_519)) & mask
    h ^= h >> np.uint64(13)
    values = (h >> np.uint64(8)).astype(np.float32) / np.float32(1 << 24)
    return torch.from_numpy(values.reshape(shape))


def golden(name):
    """The arrays of a golden, the student's outputs, its anchors, the teacher."""
    with np.load(FIXTURES / f"train/{name}.npz") as file:
        arrays = {key: torch.from_numpy(value) for key, value in file.items()}
    batch, classes, height, width = arrays["size"].tolist()
    anchors = Anchors.of_grid((height, width))
    class_logits = (noise((batch, classes, len(anchors)), 0) * 9 - 7.5).requires_grad_()
    box_logits = ((noise((batch, 64, len(anchors)), 1_000_000) - 0.5) * arrays["spread"]).requires_grad_()
    teacher = TeacherTargets(
        **{key: arrays[key] for key in ("batch_index", "anchor", "score", "class_logits", "boxes", "floor_prob")},
        dfl_logits=arrays.get("dfl_logits"),
        dropped_score_sum=torch.zeros(batch),
    )
    return arrays, class_logits, box_logits, anchors, teacher


def assert_close(found, expected, relative=RELATIVE):
    found, expected = found.detach().double(), expected.double()
    assert found.shape == expected.shape and expected.abs().max() > 0
    assert (found - expected).abs().max() <= relative * expected.abs().max()


@pytest.mark.parametrize("name, cls_loss, distill", CASES)
def test_losses_and_gradients_are_those_of_the_trainer(name, cls_loss, distill):
    arrays, class_logits, box_logits, anchors, teacher = golden(name)
    losses = DistillLoss(cls_loss, float(arrays["temperature"]), distill)(class_logits, box_logits, anchors, teacher)
    for found, expected in zip((losses.box, losses.cls, losses.dfl), arrays["parts"], strict=True):
        assert found == 0 if expected == 0 else (found - expected).abs() <= RELATIVE * expected
    assert_close(losses.total, arrays["total"])
    losses.total.backward()
    assert_close(class_logits.grad, arrays["class_grad"])
    if distill == "cls":
        assert box_logits.grad is None
        return
    rows = box_logits.grad.transpose(1, 2)[teacher.batch_index, teacher.anchor]
    assert_close(rows, arrays["dfl_grad_rows"])
    # The sum shows that nothing lies outside these rows.
    assert_close(box_logits.grad.abs().sum(), arrays["dfl_grad_sum"])


@pytest.mark.parametrize("cls_loss", ["bckd", "bce"])
def test_dropped_anchors_count_in_the_divisor(cls_loss):
    _, class_logits, _, _, teacher = golden("distill_bce")
    loss, kept = ClassLoss(cls_loss), float(teacher.score.sum())
    none = loss(class_logits, teacher).sum() * max(kept, 1.0)
    some = TeacherTargets(**{**vars(teacher), "dropped_score_sum": torch.tensor([3.0, 0.0, 4.0])})
    assert_close(loss(class_logits, some).sum() * (kept + 7.0), none)


@pytest.mark.parametrize("cls_loss", ["softmax-kl", "bckd", "bce"])
def test_each_image_counts_with_its_weight(cls_loss):
    _, class_logits, box_logits, anchors, teacher = golden("distill_bckd")
    loss, weights = DistillLoss(cls_loss), torch.tensor([0.25, 1.0, 0.0])

    def gradient(weight):
        losses = loss(class_logits, box_logits, anchors, teacher, weight)
        return losses, torch.autograd.grad(losses.total, [class_logits, box_logits])

    (plain, whole), (weighted, found) = gradient(None), gradient(weights)
    assert (plain.box, plain.cls, plain.dfl) == (weighted.box, weighted.cls, weighted.dfl), "parts are without weights"
    for before, after in zip(whole, found, strict=True):
        assert_close(after, before * weights[:, None, None])
        assert not after[2].any()


@pytest.mark.parametrize("cls_loss", ["softmax-kl", "bckd", "bce"])
def test_nothing_kept_gives_no_nan(cls_loss):
    _, class_logits, box_logits, anchors, teacher = golden("distill_bckd")
    columns = {name: value[:0] for name, value in vars(teacher).items() if name not in ("floor_prob", "dropped_score_sum")}
    for floor in (float("nan"), 0.1):
        empty = TeacherTargets(
            **columns, floor_prob=torch.full_like(teacher.floor_prob, floor), dropped_score_sum=torch.zeros(3)
        )
        losses = DistillLoss(cls_loss)(class_logits, box_logits, anchors, empty)
        gradients = torch.autograd.grad(losses.total, [class_logits, box_logits])
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert (losses.total > 0) == (floor == 0.1 and cls_loss != "softmax-kl")


def test_a_student_without_bins_learns_classes_and_boxes():
    _, class_logits, _, anchors, teacher = golden("distill_bckd")
    distances = (noise((3, 4, len(anchors)), 9_000_000) * 4).requires_grad_()
    losses = DistillLoss("bckd")(class_logits, distances, anchors, teacher)
    assert losses.dfl == 0 and losses.box > 0
    # Bins that are sure of whole distances are those distances.
    whole = distances.detach().round().long().clamp(0, 15)
    sure = torch.nn.functional.one_hot(whole.transpose(1, 2), 16).flatten(2).transpose(1, 2) * 100.0
    boxes = BoxLoss()
    assert_close(boxes(sure.float(), anchors, teacher).sum(), boxes(whole.float(), anchors, teacher).sum())


def test_half_precision_is_computed_in_float32():
    _, class_logits, box_logits, anchors, teacher = golden("distill_bckd")
    losses = DistillLoss("bckd")(class_logits.bfloat16(), box_logits.bfloat16(), anchors, teacher)
    assert losses.total.dtype == torch.float32
    assert_close(losses.total, DistillLoss("bckd")(class_logits, box_logits, anchors, teacher).total, 0.02)


def test_a_student_that_does_not_fit_is_refused():
    _, class_logits, box_logits, anchors, teacher = golden("distill_bckd")
    cases = [
        ("84", class_logits[:, :, :80], box_logits[:, :, :80], "another input size"),
        ("images", class_logits[:2], box_logits[:2], "2 images"),
        ("classes", class_logits[:, :3], box_logits, "3 classes, the teacher 4"),
        ("bins", class_logits, box_logits[:, :32], "16 DFL bins a side, the student 8"),
    ]
    for _, classes, boxes, match in cases:
        with pytest.raises(logitcache.Error, match=match) as caught:
            DistillLoss("bckd")(classes, boxes, anchors, teacher)
        assert caught.value.found and caught.value.remedy
    for wrong in (lambda: ClassLoss("mse"), lambda: DflLoss(0.0), lambda: DistillLoss(distill="boxes")):
        with pytest.raises(ValueError):
            wrong()


@pytest.fixture(scope="module")
def plain(shapes, tmp_path_factory):
    """A cache of the shapes without views."""
    cache = tmp_path_factory.mktemp("plain") / "cache"
    run("build", "--teacher", TEACHER, "--data", shapes / "data.yaml", "--out", cache)
    return cache


@pytest.mark.parametrize("augment", [False, True])
def test_a_collated_batch_is_the_batch_of_the_trainer(plain, augment):
    data, rows = DistillDataset(plain, augment=augment, seed=4), [3, 0, 7, 5]
    data.set_epoch(2)
    batch = collate([data[row] for row in rows])
    arrays = TrainingSet(plain).batch(rows, 4, 2, augment, True)
    assert batch["image"].dtype == torch.uint8 and batch["image"].shape == (4, 3, 160, 160)
    assert np.array_equal(batch["image"].permute(0, 2, 3, 1), arrays["pixels"])
    for ours, theirs in (("batch_index", "label_batch_index"), ("class_id", "label_class_id"),
                         ("boxes", "label_boxes_xyxy_input_px"), ("labelled", "labelled")):
        assert np.array_equal(batch[ours], arrays[theirs])
    expected = TeacherTargets.of_arrays(arrays)
    for name, value in vars(batch["teacher"]).items():
        assert np.array_equal(value, getattr(expected, name), equal_nan=True), name
    with pytest.raises(IndexError):
        data[len(data)]
    assert data[-1]["path"] == data[len(data) - 1]["path"]


def test_workers_and_pickles_give_the_same(plain):
    data = DistillDataset(plain)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[2]["image"], data[2]["image"])
    for context in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(
            data, batch_size=6, collate_fn=collate, num_workers=2, multiprocessing_context=context
        )
        batches = list(loader)
        assert sum(len(batch["image"]) for batch in batches) == len(data)
        assert torch.equal(batches[0]["image"][2], data[2]["image"])
        assert torch.equal(batches[0]["teacher"].score, collate([data[i] for i in range(6)])["teacher"].score)


def test_dense_targets_are_rows_of_the_outputs(plain):
    data = DistillDataset(plain)
    teacher = collate([data[0], data[1], data[2]])["teacher"]
    index, values = dense_targets(teacher)
    count = teacher.floor_prob.shape[1]
    outputs = torch.arange(3 * 6 * count).view(3, 6, count)
    rows = outputs.transpose(1, 2).flatten(0, 1).index_select(0, index)
    assert torch.equal(rows, outputs.transpose(1, 2)[teacher.batch_index, teacher.anchor])
    assert len(index.unique()) == len(index) == len(values["score"])
    assert values["class_logits"] is teacher.class_logits and values["boxes"].shape == (len(index), 4)


def test_what_is_no_finished_cache_is_refused(plain, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(plain, unfinished)
    (unfinished / "manifest.json").unlink()
    with pytest.raises(logitcache.Error) as caught:
        DistillDataset(unfinished)
    assert caught.value.found and caught.value.remedy and caught.value.path


def test_the_code_of_the_docs_runs(plain, tmp_path, monkeypatch):
    (tmp_path / "cache").symlink_to(plain)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/how-to/pytorch.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```$", text, re.M | re.S)
    assert len(blocks) == 2

    class Student(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(70, 1))

        def forward(self, images):
            return self.bias.repeat(len(images), 1, 525).split([6, 64], 1)

    student = Student()
    names = {"student": student, "epochs": 2, "optimizer": torch.optim.SGD(student.parameters(), 1e-3)}
    exec("".join(blocks), names)
    assert names["loss"].isfinite() and student.bias.grad.abs().sum() > 0


def test_the_example_learns(plain, tmp_path):
    command = [sys.executable, ROOT / "examples/distil_loop.py", plain, "--epochs", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_a_detector_of_torchvision_learns_from_labels_and_teacher(plain, tmp_path):
    pytest.importorskip("torchvision")
    out = tmp_path / "fcos.pt"
    command = [sys.executable, ROOT / "examples/distil_torchvision.py", plain, "--epochs", "3", "--batch", "4", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    labels, teacher = ([float(row[at]) for row in rows] for at in (3, 5))
    assert len(rows) == 3 and labels[-1] < labels[0] and teacher[-1] < teacher[0]
    # It detects as torchvision's own models do.
    sys.path.append(str(ROOT / "examples"))
    from distil_torchvision import student

    model = student(6).eval()
    model.load_state_dict(torch.load(out))
    [found] = model([torch.rand(3, 160, 160)])
    assert set(found) == {"boxes", "scores", "labels"}
