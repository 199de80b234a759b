"""The runs view: curves, a run that still trains, settings that differ."""

import json

import pytest

COLUMNS = "epoch,time,train/box_loss,metrics/precision(B),metrics/mAP50(B),metrics/mAP50-95(B),lr/pg0"


def row(epoch, scale):
    """A line of results.csv; the second epoch was not validated."""
    score = "" if epoch == 2 else f"{0.1 * epoch * scale:.6f}"
    return f"{epoch},{epoch * 10}.000,{3 / epoch:.6f},{score},{score},{score},0.01000000"


def write_run(folder, epochs, scale, lr, finished):
    folder.mkdir()
    settings = {"epochs": 6, "alpha": 0.5, "lr": lr, "note": "<img src=x onerror=alert(1)>"}
    config = {
        "producer": "logitcache 0.1.0", "model": "yolov8n", "start": "random", "class_names": ["circle"], "imgsz": 160, "images": 16,
        "images_sha256": "0" * 64, "cache_sha256": None, "threads": 2, "device": "cpu", "data": None, "settings": settings,
    }
    (folder / "config.json").write_text(json.dumps(config))
    lines = [COLUMNS, *(row(epoch, scale) for epoch in range(1, epochs + 1))]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    if finished:
        (folder / "best.onnx").write_bytes(b"")
    return folder


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / "labels-only", 6, 0.5, 0.001, True), write_run(tmp_path / "distilled", 3, 1.0, 0.002, False)]


def points(page, chart, line):
    """(number of points) of a line of a chart."""
    drawn = page.locator("figure", has_text=chart).locator(f"polyline.run-{line}")
    return len(drawn.get_attribute("points").split())


def test_curves_come_while_a_run_trains(visit, runs, serve):
    from playwright.sync_api import expect

    server = serve("--run", runs[0], "--run", runs[1])
    page = visit(server, "#runs").page
    chart = page.get_by_role("img", name="metrics/mAP50-95(B) over epochs")
    expect(chart).to_have_accessible_name(
        "metrics/mAP50-95(B) over epochs. labels-only: 0.3 at epoch 6; distilled: 0.3 at epoch 3")
    # An epoch without validation is a gap of the data, not a zero.
    assert (points(page, "metrics/mAP50-95(B)", 0), points(page, "metrics/mAP50-95(B)", 1)) == (5, 2)
    assert points(page, "train/box_loss", 0) == 6
    with (runs[1] / "results.csv").open("a") as results:
        results.write(row(4, 1.0) + "\n")
    expect(chart).to_have_accessible_name(
        "metrics/mAP50-95(B) over epochs. labels-only: 0.3 at epoch 6; distilled: 0.4 at epoch 4")
    assert points(page, "metrics/mAP50-95(B)", 1) == 3
    page.get_by_role("checkbox", name="labels-only").uncheck()
    expect(chart).to_have_accessible_name("metrics/mAP50-95(B) over epochs. distilled: 0.4 at epoch 4")


def test_settings_that_differ(visit, runs, serve):
    from playwright.sync_api import expect

    server = serve("--run", runs[0], "--run", runs[1])
    page = visit(server, "#runs").page
    table = page.get_by_role("table", name="Settings in which the runs differ")
    expect(table).to_contain_text("0.001")
    expect(table).to_contain_text("0.002")
    expect(table).not_to_contain_text("alpha")
    expect(page.get_by_role("table", name="Last values")).to_contain_text("0.3")
