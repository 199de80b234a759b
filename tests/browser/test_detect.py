"""The detect view against `predict`: the same boxes and counts at every position of the sliders, without a new request."""

import csv
import io
import json
from pathlib import Path

import pytest
from conftest import GOOD_PICTURES, MODEL, counts_text, serving

PICTURES = [GOOD_PICTURES / name for name in ("baseline_444.jpg", "baseline_420.jpg", "orientation_6.jpg", "progressive_420.jpg")]
# (confidence, IoU): the model's own, few boxes, all that overlap, none that overlap, the ends.
POSITIONS = [(0.25, 0.7), (0.5, 0.7), (0.05, 0.3), (0.1, 0.95), (0.05, 1.0), (0.3, 0.0), (0.05, 0.7)]


@pytest.fixture(scope="module")
def server(browser, other_model):
    with serving(MODEL, other_model) as started:
        yield started


def upload(page, pictures, text=None):
    """Chooses pictures and waits until all have an answer."""
    from playwright.sync_api import expect

    page.set_input_files("#choose", [str(picture) for picture in pictures])
    expect(page.locator("#progress")).to_have_text(text or f"{len(pictures)} pictures")


def set_slider(page, name, value):
    page.locator(f"#{name}").fill(str(value))


def downloaded(page, button):
    """The text of a file that a button saves."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def shown(page):
    """What the page shows, by its own JSON: name -> image."""
    return {image["name"]: image for image in json.loads(downloaded(page, "JSON"))["images"]}


def assert_as_predicted(page, predict, model, pictures, conf, iou):
    """Classes, scores, boxes, counts: every number as the program prints it."""
    from playwright.sync_api import expect

    expected, names = predict(model, pictures, conf=conf, iou=iou)
    totals = {}
    for image in expected.values():
        for count in image["counts"]:
            totals[count["class_id"]] = totals.get(count["class_id"], 0) + count["count"]
    order = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    total = counts_text([{"class": names[class_id], "count": count} for class_id, count in order])
    expect(page.locator("#total")).to_have_text(total)
    images = shown(page)
    assert images.keys() == expected.keys()
    for name, image in expected.items():
        assert images[name]["detections"] == [
            {"class_id": d["class_id"], "name": names[d["class_id"]], "score": d["score"], "box_xyxy_px": d["box_xyxy_px"]}
            for d in image["detections"]
        ], f"{name} at confidence {conf}, IoU {iou}"
        card = page.get_by_role("article", name=name, exact=True)
        expect(card.locator(".counts")).to_have_text(counts_text(image["counts"]))
    return sum(totals.values())


def test_boxes_are_those_of_predict_without_a_new_request(server, visit, predict):
    visitor = visit(server)
    page = visitor.page
    upload(page, PICTURES)
    asked = len(visitor.requests)
    numbers = set()
    for conf, iou in POSITIONS:
        set_slider(page, "conf", conf)
        set_slider(page, "iou", iou)
        numbers.add(assert_as_predicted(page, predict, MODEL, PICTURES, conf, iou))
    # Otherwise nothing would be compared.
    assert len(numbers) >= 4 and max(numbers) > 100
    assert [r.url for r in visitor.requests[asked:] if not r.url.startswith("blob:")] == []
    assert len(visitor.paths("/v1/detect")) == len(PICTURES)


def test_real_pictures_and_a_real_model(visit, predict, shared, serve):
    model = shared / "models/yolov12n.onnx"
    pictures = sorted((shared / "data/coco128/images/train2017").glob("*.jpg"))[:12]
    visitor = visit(serve(model))
    page = visitor.page
    upload(page, pictures)
    for conf, iou in ((0.25, 0.7), (0.05, 0.45), (0.6, 0.9)):
        set_slider(page, "conf", conf)
        set_slider(page, "iou", iou)
        assert_as_predicted(page, predict, model, pictures, conf, iou)
    assert len(visitor.paths("/v1/detect")) == len(pictures)


def test_reports_and_class_filter(server, visit, predict):
    from playwright.sync_api import expect

    picture = PICTURES[0]
    visitor = visit(server, permissions=["clipboard-read", "clipboard-write"])
    page = visitor.page
    upload(page, [picture], "1 picture")
    expected, names = predict(MODEL, [picture])
    image = expected[picture.name]
    rows = list(csv.DictReader(io.StringIO(downloaded(page, "CSV"))))
    assert [(r["image"], r["class"], float(r["score"])) for r in rows] == [
        (picture.name, names[d["class_id"]], d["score"]) for d in image["detections"]
    ]
    coco = json.loads(downloaded(page, "COCO"))
    assert [(r["image_id"], r["category_id"], r["score"]) for r in coco] == [
        (0, d["class_id"], d["score"]) for d in image["detections"]
    ]
    left, top, right, bottom = image["detections"][0]["box_xyxy_px"]
    assert coco[0]["bbox"] == pytest.approx([left, top, right - left, bottom - top], rel=1e-6)
    page.get_by_role("button", name="Copy as text").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    text = counts_text(image["counts"])
    assert page.evaluate("navigator.clipboard.readText()") == f"{picture.name}: {text}\ntotal: {text}\n"
    # Without its most frequent class.
    gone, *kept = image["counts"]
    page.get_by_role("checkbox", name=gone["class"]).uncheck()
    expect(page.locator("#total")).to_have_text(counts_text(kept))
    assert {d["class_id"] for d in shown(page)[picture.name]["detections"]} == {c["class_id"] for c in kept}
    page.get_by_role("checkbox", name=gone["class"]).check()
    expect(page.locator("#total")).to_have_text(text)
    assert len(visitor.paths("/v1/detect")) == 1


def test_table_and_canvas_hold_the_boxes(server, visit, predict):
    from playwright.sync_api import expect

    picture = PICTURES[0]
    page = visit(server).page
    upload(page, [picture], "1 picture")
    image = predict(MODEL, [picture])[0][picture.name]
    page.get_by_text("Table of boxes").click()
    expect(page.locator(".picture tbody tr")).to_have_count(len(image["detections"]))
    # Under the middle of the smallest box there is none smaller: its class and score are read out there.
    area = lambda d: (d["box_xyxy_px"][2] - d["box_xyxy_px"][0]) * (d["box_xyxy_px"][3] - d["box_xyxy_px"][1])
    smallest = min((d for d in image["detections"] if area(d) > 1), key=area)
    x0, y0, x1, y1 = smallest["box_xyxy_px"]
    canvas = page.locator(".picture canvas")
    canvas.scroll_into_view_if_needed()
    frame = canvas.bounding_box()
    canvas.hover(position={
        "x": (x0 + x1) / 2 * frame["width"] / image["size"]["width"], "y": (y0 + y1) / 2 * frame["height"] / image["size"]["height"],
    })
    expect(page.locator(".tip")).to_contain_text(f"{smallest['score']:.2f}")
    # Drawn at all: some point of the canvas is not clear.
    assert page.evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v)", canvas.element_handle())


def test_each_failure_stands_at_its_picture(server, visit, tmp_path):
    from playwright.sync_api import expect

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture at all")
    visitor = visit(server)
    visitor.allow(r"status of 4\d\d")
    page = visitor.page
    good = PICTURES[0]
    upload(page, [broken, good], "2 pictures, 1 failed")
    card = page.get_by_role("article", name="broken.jpg")
    expect(card.get_by_role("alert")).to_contain_text("can be read")
    expect(page.get_by_role("article", name=good.name).get_by_role("alert")).to_have_count(0)
    report = json.loads(downloaded(page, "JSON"))["images"]
    assert "error" in report[0] and report[1]["detections"]
    page.get_by_role("button", name="Remove broken.jpg").click()
    expect(page.locator("#progress")).to_have_text("1 picture")


def iou(a, b):
    """Intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    return width * height / both if both else 0.0


def differences(left, right):
    """As the page defines them: pairs that overlap by half, of one class first, then the greatest overlap."""
    pairs = []
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            overlap = iou(a["box_xyxy_px"], b["box_xyxy_px"])
            if overlap >= 0.5:
                pairs.append((a["class_id"] != b["class_id"], -overlap, i, j))
    free_left, free_right = set(range(len(left))), set(range(len(right)))
    changed_class = changed_score = same = 0
    for other_class, _, i, j in sorted(pairs):
        if i in free_left and j in free_right:
            free_left.remove(i)
            free_right.remove(j)
            changed = abs(left[i]["score"] - right[j]["score"]) >= 0.1
            changed_class += other_class
            changed_score += changed and not other_class
            same += not changed and not other_class
    return (f"{len(free_left)} only in A, {len(free_right)} only in B, {changed_class} with another class, "
            f"{changed_score} with another score, {same} the same")


def test_two_models_side_by_side(server, visit, predict, other_model):
    from playwright.sync_api import expect

    picture = PICTURES[0]
    visitor = visit(server)
    page = visitor.page
    upload(page, [picture], "1 picture")
    page.get_by_label("Compare with").select_option(label="other.onnx")
    texts = set()
    for conf in (0.25, 0.4):
        set_slider(page, "conf", conf)
        a = predict(MODEL, [picture], conf=conf)[0][picture.name]
        b = predict(other_model, [picture], conf=conf)[0][picture.name]
        expect(page.locator("#total")).to_have_text(f"A: {counts_text(a['counts'])}")
        expect(page.locator("#total-b")).to_have_text(f"B: {counts_text(b['counts'])}")
        text = differences(a["detections"], b["detections"])
        expect(page.locator(".difference")).to_have_text(text)
        texts.add(text)
    assert len(texts) == 2
    assert len(visitor.paths("/v1/detect")) == 2
    expect(page.locator(".picture canvas")).to_have_count(2)


def test_latency_has_its_parts(server, visit):
    from playwright.sync_api import expect

    page = visit(server).page
    upload(page, PICTURES[:1], "1 picture")
    expect(page.locator(".latency-total")).to_contain_text("ms")
    expect(page.get_by_role("list", name="Parts of the latency")).to_contain_text("inference")


def test_drop_and_paste(server, visit):
    from playwright.sync_api import expect

    page = visit(server).page
    data = list(PICTURES[0].read_bytes())
    send = """([bytes, kind]) => {
        const all = new DataTransfer();
        all.items.add(new File([new Uint8Array(bytes)], `${kind}.jpg`, {type: "image/jpeg"}));
        const more = {bubbles: true, cancelable: true};
        document.querySelector("#detect").dispatchEvent(kind === "drop"
            ? new DragEvent("drop", {...more, dataTransfer: all}) : new ClipboardEvent("paste", {...more, clipboardData: all}));
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(send, [data, kind])
        expect(page.get_by_role("article", name=f"{kind}.jpg").locator(".counts")).to_contain_text(" ")
