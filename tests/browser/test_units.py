"""The page's modules alone, in the browser that they are made for, against the same rules written in NumPy and by hand."""

import numpy as np
import pytest
from conftest import MODEL, serving

SUPPRESS = """async ([candidates, options]) => {
    const { suppress } = await import("/page/nms.js");
    return suppress(candidates, options).map((c) => c.at);
}"""


@pytest.fixture(scope="module")
def server(browser):
    with serving(MODEL) as started:
        yield started


def suppress(candidates, conf, iou, max_detections):
    """torchvision's loop over every pair, in single precision, classes moved apart by 7680 pixels."""
    if not candidates:
        return []
    boxes = np.array([c["box_xyxy_input_px"] for c in candidates], np.float32)
    boxes += (np.array([c["class_id"] for c in candidates], np.float32) * np.float32(7680))[:, None]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    for i, candidate in enumerate(candidates):
        if not np.float32(candidate["score"]) > np.float32(conf):
            continue
        low, high = np.maximum(boxes[kept, :2], boxes[i, :2]), np.minimum(boxes[kept, 2:], boxes[i, 2:])
        sides = np.maximum(high - low, np.float32(0))
        both = sides[:, 0] * sides[:, 1]
        with np.errstate(invalid="ignore"):
            overlaps = both / (areas[kept] + areas[i] - both)
        if not (overlaps.astype(np.float64) > iou).any():
            kept.append(i)
    return kept[:max_detections]


def test_suppression(server, visit):
    page = visit(server).page
    random = np.random.default_rng(0)
    numbers = set()
    for case in range(150):
        count = int(random.integers(0, 80))
        # Whole and tenth pixels, few scores: overlaps and scores that tie, boxes without area.
        corners = random.integers(0, 60, (count, 2)) + random.integers(0, 10, (count, 2)) / 10
        sides = random.integers(0, 30, (count, 2))
        scores = -np.sort(-random.integers(1, 20, count) / 20)
        candidates = [
            {
                "at": i, "class_id": int(random.integers(0, 79)) if case % 3 else 0, "score": float(scores[i]),
                # The page must look at the input's pixels, not at these.
                "box_xyxy_px": [0, 0, 1, 1],
                "box_xyxy_input_px": [*map(float, corners[i]), *map(float, corners[i] + sides[i])],
            }
            for i in range(count)
        ]
        conf, iou, most = float(random.integers(0, 20) / 20), float(random.integers(0, 11) / 10), int(random.integers(1, 40))
        got = page.evaluate(SUPPRESS, [candidates, {"conf": conf, "iou": iou, "maxDetections": most}])
        assert got == suppress(candidates, conf, iou, most), (case, conf, iou, most)
        numbers.add(len(got))
    assert len(numbers) > 10


def test_reports(server, visit):
    page = visit(server).page
    got = page.evaluate("""async () => {
        const counts = await import("/page/counts.js");
        const found = [{class_id: 2, name: "car"}, {class_id: 0, name: "person"}, {class_id: 2, name: "car"}, {class_id: 1, name: "bus"}]
            .map((d) => ({...d, score: 0.1, box_xyxy_px: [0.1, 0.2, 0.3, 10.7]}));
        const pictures = [{name: "=1+1.jpg", detections: found, counts: []}, {name: 'a "b",c.jpg', error: "broken"}];
        const names = {0: "person", 1: "bus", 2: "car"};
        return [counts.countsText(counts.countClasses(found, (id) => names[id])), counts.countsText([]),
            counts.reportCsv(pictures), counts.reportCoco(pictures)];
    }""")
    text, none, csv, coco = got
    assert text == "car 2, person 1, bus 1" and none == "no objects"
    lines = csv.split("\r\n")
    # A cell that a spreadsheet would run is quoted as text.
    assert lines[1].startswith("'=1+1.jpg,2,car,0.1,0.1,0.2,0.3,10.7,")
    assert lines[5] == '"a ""b"",c.jpg",,,,,,,,broken'
    assert f'"bbox":[0.1,0.2,{np.float32(0.3) - np.float32(0.1)!s},{np.float32(10.7) - np.float32(0.2)!s}]' in coco


def test_ticks_are_round(server, visit):
    page = visit(server).page
    cases = [[0, 1], [0, 0.43], [0.00012, 0.00093], [3, 3], [-2, 7], [0, 98765]]
    for (low, high), ticks in zip(cases, page.evaluate(
            "async (cases) => { const { ticks } = await import('/page/chart.js'); return cases.map((c) => ticks(...c)); }", cases)):
        assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks) and len(ticks) <= 6, (low, high, ticks)
        assert all(len(f"{t:.6g}".replace(".", "").replace("-", "").strip("0")) <= 2 or t > 99 for t in ticks), ticks


def test_what_differs_between_two_models(server, visit):
    page = visit(server).page
    box = [0, 0, 10, 10]
    a = [{"class_id": 0, "score": 0.9, "box_xyxy_px": box}, {"class_id": 1, "score": 0.5, "box_xyxy_px": [50, 50, 60, 60]},
         {"class_id": 2, "score": 0.5, "box_xyxy_px": [80, 80, 90, 90]}, {"class_id": 3, "score": 0.5, "box_xyxy_px": [20, 20, 30, 30]}]
    b = [{"class_id": 1, "score": 0.9, "box_xyxy_px": box}, {"class_id": 0, "score": 0.7, "box_xyxy_px": [0, 0, 10, 9]},
         {"class_id": 5, "score": 0.5, "box_xyxy_px": [50, 50, 60, 61]}, {"class_id": 3, "score": 0.55, "box_xyxy_px": [20, 20, 30, 31]}]
    kinds = page.evaluate("""async ([a, b]) => {
        const { difference } = await import("/page/compare.js");
        const found = difference(a, b);
        return [found.left.map((m) => m.kind), found.right.map((m) => m.kind), found.summary];
    }""", [a, b])
    # The same class wins over the greater overlap.
    assert kinds == [
        ["score", "class", "only", "same"], ["only", "score", "class", "same"],
        {"onlyLeft": 1, "onlyRight": 1, "changedClass": 1, "changedScore": 1, "same": 1},
    ]
