"""The cache view against what `inspect` says of the cache, labels against their files, verdicts against the file."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import serving
from test_units import suppress


@pytest.fixture(scope="module")
def train(drawn, cache, logitcache):
    """What the teacher sees on the cached pictures, suppressed here: name -> detections, and class names."""
    names = json.loads(logitcache("inspect", cache, "--json").stdout)["teacher"]["class_names"]
    images = {}
    for picture in sorted((drawn.parent / "images/train").iterdir()):
        said = json.loads(logitcache("inspect", cache, "--image", f"images/train/{picture.name}", "--json").stdout)
        boxes = [
            {
                "class_id": names.index(p["class"]), "score": p["score"],
                "box_xyxy_input_px": [p["box_xyxy_px"][side] for side in ("x1", "y1", "x2", "y2")],
            }
            for p in said["predictions"]
        ]
        images[picture.name] = [boxes[i] for i in suppress(boxes, 0.25, 0.7, 300)]
    return images, names


@pytest.fixture
def reviews(tmp_path):
    return tmp_path / "reviews.jsonl"


@pytest.fixture
def server(browser, cache, reviews):
    with serving("--cache", cache, "--reviews", reviews) as started:
        yield started


def assert_found(page, number):
    from playwright.sync_api import expect

    expect(page.locator("#found")).to_contain_text(f"{number} picture")


def open_first(page):
    """Opens the first picture of the grid; its file's name."""
    cell = page.locator("#cell-0[data-index]")
    cell.click()
    return cell.locator(".cell-name").text_content()


def test_grid_and_filters(server, visit, train):
    from playwright.sync_api import expect

    images, names = train
    page = visit(server, "#cache").page
    assert_found(page, len(images))
    # Thumbnails are pictures.
    first = page.locator("#cell-0 img")
    expect(first).to_have_attribute("src", "/v1/caches/c0/images/0/thumbnail?size=320")
    page.locator("#cell-0[data-index]").wait_for()
    name = page.locator("#cell-0 .cell-name").text_content()
    expect(page.locator("#cell-0 .cell-facts")).to_contain_text(f"{len(images[name])} box")
    # By path.
    pngs = [n for n in images if n.endswith(".png")]
    assert 0 < len(pngs) < len(images)
    page.get_by_label("Path contains").fill(".png")
    assert_found(page, len(pngs))
    page.get_by_role("button", name="Clear the filters").click()
    assert_found(page, len(images))
    # By class and score, the limit in the widest gap of scores: a cache keeps float16.
    class_id = names.index("ring")
    best = sorted(max((d["score"] for d in found if d["class_id"] == class_id), default=0) for found in images.values())
    seen = [score for score in best if score > 0]
    low, high = max(zip(seen, seen[1:]), key=lambda pair: pair[1] - pair[0])
    page.get_by_label("Class").select_option(label="ring")
    assert_found(page, len(seen))
    page.get_by_label("Score at least").fill(f"{(low + high) / 2:.4f}")
    assert_found(page, sum(score >= high for score in seen))


def test_order_by_uncertainty_falls(server, visit, train):
    page = visit(server, "#cache").page
    page.get_by_label("Order").select_option("uncertainty")
    page.locator(".cell-facts", has_text="uncertainty").first.wait_for()
    facts = [page.locator(f"#cell-{i} .cell-facts").text_content() for i in range(6)]
    values = [float(text.rsplit(" ", 1)[1]) for text in facts]
    assert values == sorted(values, reverse=True) and values[0] > 0


def test_one_picture(server, visit, train, drawn):
    from playwright.sync_api import expect

    images, names = train
    page = visit(server, "#cache").page
    page.locator("#cell-0[data-index]").wait_for()
    name = open_first(page)
    expected = images[name]
    dialog = page.get_by_role("dialog")
    buttons = dialog.locator(".box-list button")
    expect(buttons).to_have_count(len(expected))
    for button, detection in zip(buttons.all(), expected):
        shown, score = button.locator("xpath=.").inner_text().split()
        # As float16 keeps it, shown with two digits.
        assert abs(float(score) - detection["score"]) < 0.006 and shown == names[detection["class_id"]]
    labels = (drawn.parent / "labels/train" / name).with_suffix(".txt").read_text().split("\n")
    expect(dialog.get_by_text(f"{sum(map(bool, labels))} label", exact=False)).to_be_visible()
    # Soft classes of the chosen box, its own the highest; four distributions of DFL bins.
    expect(dialog.locator(".bars li").first).to_contain_text(names[expected[0]["class_id"]])
    expect(dialog.locator(".bars li")).to_have_count(len(names))
    expect(dialog.get_by_role("img", name="Bins 0 to 15")).to_have_count(4)
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", level=2)).not_to_contain_text(name)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".grid")).to_be_focused()


def test_a_million_pictures_are_few_elements(server, visit):
    """The list of a large cache stands in for the server's."""
    from playwright.sync_api import expect

    total = 1_000_000

    def images(route):
        query = parse_qs(urlsplit(route.request.url).query)
        first, limit = int(query["offset"][0]), int(query["limit"][0])
        listed = [
            {"index": i, "path": f"train/{i:07}.jpg", "width_px": 640, "height_px": 480, "detections": 1, "top_score": 0.5,
             "uncertainty": 0.5, "disagreement": None}
            for i in range(first, min(first + limit, total))
        ]
        route.fulfill(json={"total": total, "images": listed})

    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>'
    visitor = visit(server, "#cache", routes={
        re.compile(r"/v1/caches/c0/images\?"): images,
        re.compile("/thumbnail"): lambda route: route.fulfill(body=svg, content_type="image/svg+xml"),
    })
    page = visitor.page
    assert_found(page, "1,000,000")
    for key, position in (("End", total - 1), ("Home", 0), ("PageDown", None)):
        page.locator(".grid").press(key)
        if position is not None:
            expect(page.locator(f"#cell-{position}[aria-selected=true]")).to_be_in_viewport(ratio=0.9)
            expect(page.locator(f"#cell-{position} .cell-name")).to_have_text(f"{position:07}.jpg")
        assert page.locator(".cell").count() < 100
    # The middle of the scroll bar is the middle of the list.
    page.locator(".grid").evaluate("g => { g.scrollTop = (g.scrollHeight - g.clientHeight) / 2; }")
    middle = page.locator(".cell[data-index^='500'], .cell[data-index^='499']")
    expect(middle.first).to_be_visible()
    assert len(visitor.paths("/images")) < 300


def test_grid_by_keyboard(server, visit, train):
    from playwright.sync_api import expect

    images, _ = train
    page = visit(server, "#cache").page
    assert_found(page, len(images))
    page.locator(".grid").focus()
    page.keyboard.press("End")
    expect(page.locator(".grid")).to_have_attribute("aria-activedescendant", f"cell-{len(images) - 1}")
    last = page.locator(f"#cell-{len(images) - 1}")
    expect(last).to_be_in_viewport()
    expect(last).to_have_attribute("aria-setsize", str(len(images)))
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".grid")).to_have_attribute("aria-activedescendant", "cell-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_verdicts_are_written_down(server, visit, reviews):
    from playwright.sync_api import expect

    page = visit(server, "#cache/issues").page
    rows = page.locator(".issue")
    expect(rows.nth(2)).to_be_visible()
    page.locator(".issue-list").focus()
    page.keyboard.press("a")
    expect(rows.nth(0)).to_contain_text("accepted")
    # The next issue is chosen after a key.
    expect(page.locator(".issue-list")).to_have_attribute("aria-activedescendant", "issue-1")
    page.get_by_role("button", name="Reject").click()
    expect(rows.nth(1)).to_contain_text("rejected")
    verdicts = [json.loads(line)["verdict"] for line in reviews.read_text().splitlines()]
    assert verdicts == ["accept", "reject"]
    page.reload()
    expect(rows.nth(0)).to_contain_text("accepted")
    page.locator(".issue-list").focus()
    page.keyboard.press("u")
    expect(rows.nth(0)).not_to_contain_text("accepted")


def test_sql_is_shown_only_where_the_server_has_it(server, visit, train):
    from playwright.sync_api import expect

    visitor = visit(server, "#cache")
    page = visitor.page
    assert_found(page, len(train[0]))
    has_sql = page.evaluate("fetch('/v1/caches').then((r) => r.json()).then((r) => r.sql)")
    expect(page.get_by_role("button", name="SQL")).to_have_count(int(has_sql))
    if has_sql:
        visitor.allow("status of 4")
        page.get_by_role("button", name="SQL").click()
        query = page.get_by_label("SQL over the tables")
        query.fill("SELECT count(*) AS n FROM images")
        query.press("Control+Enter")
        expect(page.get_by_role("region", name="Answer")).to_contain_text(str(len(train[0])))
        query.fill("SELECT nothing FROM nowhere")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.get_by_role("region", name="Answer").get_by_role("alert")).to_be_visible()
