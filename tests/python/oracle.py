"""What a cache should hold for one image, computed by other means: OpenCV, NumPy and ONNX Runtime in Python.

Nothing here is taken from the Rust code. Sources: Ultralytics 8.4 (`LetterBox`, `scale_boxes`, the `Detect` head), Li et al.,
Generalized Focal Loss, 2020 (the expectation over the bins).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import onnx
import onnxruntime
import views

MIN_SCORE, TOP_K = 0.01, 300
STRIDES = (8, 16, 32)


def sigmoid(x):
    """Logistic function in double precision."""
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def decode(path):
    """A picture as BGR levels."""
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, f"OpenCV cannot read {path}"
    return picture


@dataclass
class Geometry:
    """Where a picture lies in the input."""

    image: tuple  # width, height
    resized: tuple
    scale: float
    left: int
    top: int

    def boxes_to_image(self, boxes):
        """Boxes [n, 4] x1 y1 x2 y2 of the input in pixels of the picture, clipped."""
        shift = np.array([self.left, self.top] * 2, np.float64)
        scale = np.array([self.resized[0] / self.image[0], self.resized[1] / self.image[1]] * 2)
        return np.clip((boxes - shift) / scale, 0, np.array(self.image * 2, np.float64))


def letterbox(picture, columns, rows):
    """Ultralytics' LetterBox(auto=False): BGR levels of the input, and the geometry."""
    height, width = picture.shape[:2]
    scale = min(rows / height, columns / width)
    resized = max(round(width * scale), 1), max(round(height * scale), 1)
    if resized != (width, height):
        picture = cv2.resize(picture, resized, interpolation=cv2.INTER_LINEAR)
    left, top = round((columns - resized[0]) / 2 - 0.1), round((rows - resized[1]) / 2 - 0.1)
    canvas = np.full((rows, columns, 3), 114, np.uint8)
    canvas[top : top + resized[1], left : left + resized[0]] = picture
    return canvas, Geometry((width, height), resized, scale, left, top)


def to_tensor(canvas):
    """[1, 3, rows, columns] float32, RGB, 0..1."""
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)


def session(model):
    """ONNX Runtime on one thread: other tests run beside, and its threads wait for each other in a loop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


class Teacher:
    """A YOLOv8-family export whose class and DFL logits became outputs. Without `dfl` the head gives distances directly."""

    def __init__(self, path, dfl=True):
        model = onnx.load(str(path))
        maker = {name: node for node in model.graph.node for name in node.output}
        last = maker[model.graph.output[0].name]
        if last.op_type == "Cast":  # fp16 inside, fp32 outside
            last = maker[last.input[0]]
        assert last.op_type == "Concat", "the last node of the export joins boxes and class probabilities"
        probabilities = maker[last.input[-1]]
        assert probabilities.op_type == "Sigmoid"
        self.class_name = probabilities.input[0]
        self.output_name = model.graph.output[0].name
        self.names = [self.output_name, self.class_name] + ([self._before_softmax(model, maker)] if dfl else [])
        for name in self.names[1:]:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        self.session = session(model.SerializeToString())
        self.input = self.session.get_inputs()[0]

    @staticmethod
    def _before_softmax(model, maker):
        """The tensor [1, 4 * bins, anchors] before the softmax of the last DFL: up through reshapes and transposes."""
        softmax = [node for node in model.graph.node if node.op_type == "Softmax"][-1]
        name = softmax.input[0]
        while maker[name].op_type in ("Transpose", "Reshape"):
            name = maker[name].input[0]
        return name

    def run(self, tensor):
        """(class logits [anchors, classes], DFL logits [anchors, 4 * bins] or None, the export's own output [4 + classes, anchors])."""
        if self.input.type == "tensor(float16)":
            tensor = tensor.astype(np.float16)
        if isinstance(self.input.shape[0], int):  # a fixed batch is filled with the same picture
            tensor = np.repeat(tensor, self.input.shape[0], axis=0)
        output, *logits = (values[0].astype(np.float32) for values in self.session.run(self.names, {self.input.name: tensor}))
        classes, dfl = [values.T for values in logits] + [None] * (2 - len(logits))
        return classes, dfl, output


def anchor_centres(columns, rows, strides_of_levels=STRIDES):
    """Centres [anchors, 2] in input pixels and strides [anchors]."""
    centres, strides = [], []
    for stride in strides_of_levels:
        y, x = np.mgrid[0 : rows // stride, 0 : columns // stride]
        centres.append((np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full(x.size, stride))
    return np.concatenate(centres), np.concatenate(strides)


def boxes_from_dfl(dfl, columns, rows, strides_of_levels=STRIDES):
    """Boxes [anchors, 4] x1 y1 x2 y2 in input pixels."""
    centres, strides = anchor_centres(columns, rows, strides_of_levels)
    logits = dfl.astype(np.float64).reshape(len(dfl), 4, -1)
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    sides = (weights * np.arange(logits.shape[2])).sum(axis=2) / weights.sum(axis=2) * strides[:, None]
    return np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1)


def select(logits, min_score=MIN_SCORE, top_k=TOP_K):
    """Kept anchors in increasing order: highest class probability at least `min_score`, at most `top_k`, lower anchor first."""
    best = logits.max(axis=1)
    order = np.argsort(-best, kind="stable")
    kept = order[sigmoid(best[order]) >= min_score][:top_k]
    return np.sort(kept)


@dataclass
class Record:
    """Everything of one image, over all anchors where a selection is not named."""

    geometry: Geometry
    kept: np.ndarray
    strides: np.ndarray
    scores: np.ndarray  # all anchors
    class_logits: np.ndarray
    dfl_logits: np.ndarray
    boxes: np.ndarray  # pixels of the picture
    dropped_max_score: float
    dropped_mean_prob: float
    dropped_score_sum: float


def record(
    teacher, path, columns=640, rows=640, min_score=MIN_SCORE, top_k=TOP_K, strides=STRIDES, box_atol_px=0.05, view=None
):
    """The whole way from a file to what the cache should hold; `view` is the row of the images table of another view than 0."""
    canvas, geometry = letterbox(decode(path), columns, rows)
    if view is not None:
        canvas = views.pixels(canvas[:, :, ::-1], view)[:, :, ::-1]
    logits, dfl, output = teacher.run(to_tensor(canvas))
    centre, size = output[:2].T, output[2:4].T
    boxes = exported = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    if dfl is not None:
        boxes = boxes_from_dfl(dfl, columns, rows, strides)
        # The export's own boxes judge the decoding.
        np.testing.assert_allclose(boxes, exported, atol=box_atol_px, rtol=1e-4)
    if view is not None:
        boxes = views.boxes_to_letterbox(boxes, view, columns)
    kept = select(logits, min_score, top_k)
    probabilities = sigmoid(logits)
    dropped = np.setdiff1d(np.arange(len(logits)), kept)
    return Record(
        geometry=geometry,
        kept=kept,
        strides=anchor_centres(columns, rows, strides)[1],
        scores=probabilities.max(axis=1),
        class_logits=logits,
        dfl_logits=dfl,
        boxes=geometry.boxes_to_image(boxes),
        dropped_max_score=float(probabilities[dropped].max()) if len(dropped) else 0.0,
        dropped_mean_prob=float(probabilities[dropped].mean()) if len(dropped) else 0.0,
        dropped_score_sum=float(probabilities[dropped].max(axis=1).sum()) if len(dropped) else 0.0,
    )


def iou_matrix(boxes):
    """Pairwise intersection over union of boxes [n, 4]."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return both / np.maximum(area[:, None] + area[None, :] - both, 1e-12)


def nms(boxes, probabilities, conf=MIN_SCORE, iou=0.7, most=300):
    """Detections (box, score, class) after per-class suppression; every class of an anchor over `conf` counts."""
    anchors, classes = np.nonzero(probabilities >= conf)
    scores = probabilities[anchors, classes]
    order = np.argsort(-scores, kind="stable")
    anchors, classes, scores = anchors[order], classes[order], scores[order]
    overlaps = iou_matrix(boxes)
    kept = []
    for number, (anchor, class_id) in enumerate(zip(anchors, classes)):
        if len(kept) == most:
            break
        rivals = [anchors[other] for other in kept if classes[other] == class_id]
        if not rivals or overlaps[anchor, rivals].max() <= iou:
            kept.append(number)
    return boxes[anchors[kept]], scores[kept], classes[kept]


def detections(output, geometry, conf=0.001, iou=0.7, most=300):
    """Ultralytics' `non_max_suppression(multi_label=True)` on an export's own output [4 + classes, anchors], and `scale_boxes`.

    Boxes [n, 4] in pixels of the picture, scores, classes; highest score first.
    """
    centre, size = output[:2].T, output[2:4].T
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    anchors, classes = np.nonzero(output[4:].T > conf)
    scores = output[4 + classes, anchors]
    order = np.argsort(-scores, kind="stable")[:30_000]
    anchors, classes, scores = anchors[order], classes[order], scores[order]
    boxes = corners[anchors] + (classes * 7680).astype(np.float32)[:, None]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept, left = [], np.arange(len(boxes))
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[left, :2]), np.minimum(boxes[best, 2:], boxes[left, 2:])
        both = np.clip(high - low, 0, None).prod(axis=1)
        left = left[both / (area[best] + area[left] - both) <= iou]
    return geometry.boxes_to_image(corners[anchors[kept]]), scores[kept], classes[kept]
