"""Who may use the page and how: token, keyboard alone, narrow screens, a screen reader (as far as axe-core checks it)."""

from pathlib import Path

import pytest
from conftest import GOOD_PICTURES, MODEL, serving
from test_detect import upload
from test_runs import write_run

PICTURE = GOOD_PICTURES / "baseline_444.jpg"


def violations(page):
    """What axe-core finds, by its rules of WCAG 2.2 A and AA and its best practices."""
    axe = pytest.importorskip("axe_playwright_python", reason="skipped: no axe-core (make test-env installs it)")
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")
    assert found["passes"], "axe checked nothing"
    return [(v["id"], v["help"], [node["html"][:160] for node in v["nodes"]]) for v in found["violations"]]


@pytest.fixture
def everything(browser, other_model, cache, tmp_path):
    """A server with two models, a cache and a run."""
    run = write_run(tmp_path / "run", 3, 1.0, 0.001, True)
    with serving(MODEL, other_model, "--cache", cache, "--run", run, "--reviews", tmp_path / "reviews.jsonl") as server:
        yield server


def every_view(page):
    """Shows one view after the other, with data, and gives its name."""
    from playwright.sync_api import expect

    yield "detect, empty"
    upload(page, [PICTURE], "1 picture")
    page.get_by_text("Table of boxes").click()
    yield "detect"
    fold = page.locator("#detect .settings > summary")
    if fold.is_visible():
        fold.click()
    page.get_by_label("Compare with").select_option(index=2)
    expect(page.locator(".difference")).to_contain_text("only in A")
    yield "two models"
    page.get_by_role("link", name="Cache").click()
    expect(page.locator(".cell[data-index]").first).to_be_visible()
    yield "grid"
    page.locator(".cell[data-index]").first.click()
    expect(page.locator(".image-dialog figcaption").first).to_be_visible()
    yield "one picture"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Issues", exact=True).click()
    expect(page.locator("#issue-range")).to_contain_text("most suspicious")
    expect(page.locator("#panel-issues .stage")).to_be_visible()
    yield "issues"
    page.get_by_role("link", name="Runs").click()
    expect(page.locator(".chart").first).to_be_visible()
    yield "runs"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_axe_and_width(everything, visit, scheme, width):
    page = visit(everything, color_scheme=scheme, viewport={"width": width, "height": 800}).page
    for name in every_view(page):
        assert violations(page) == [], f"{name}, {scheme}, {width} px"
        # On a stretched picture the boxes would lie beside the objects.
        stretched = page.evaluate("""() => Promise.all([...document.querySelectorAll(".stage")].filter((s) => s.clientWidth).map(
            async (s) => {
                const picture = s.querySelector("img");
                await picture.decode();
                const shape = picture.naturalWidth / picture.naturalHeight;
                return Math.abs(s.clientWidth / s.clientHeight / shape - 1) > 0.02 ? s.outerHTML.slice(0, 200) : null;
            })).then((found) => found.filter(Boolean))""")
        assert stretched == [], name
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} px wide on a screen of {width} px"


def test_detection_by_keyboard_alone(everything, visit):
    from playwright.sync_api import expect

    page = visit(everything).page
    # From here on the browser hands its dialogs over; asked for only with the key, that may come too late.
    page.on("filechooser", lambda chooser: None)

    def tab_to(element):
        for _ in range(60):
            page.keyboard.press("Tab")
            if element.evaluate("e => e === document.activeElement"):
                return
        raise AssertionError(f"no Tab leads to {element}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    tab_to(page.locator("#choose"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(PICTURE))
    expect(page.locator("#progress")).to_have_text("1 picture")
    expect(page.locator("#announcer")).to_contain_text("1 picture")
    expect(page.locator("#total")).not_to_have_text("no objects")
    page.locator("body").click(position={"x": 2, "y": 2})
    tab_to(page.locator("#conf"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("#conf")).to_have_value("0.26")
    page.keyboard.press("End")
    expect(page.locator("#total")).to_have_text("no objects")
    page.keyboard.press("Home")
    expect(page.locator("#total")).not_to_have_text("no objects")
    tab_to(page.locator(".picture canvas"))
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tip")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text(page.locator(".tip").text_content())
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_be_hidden()


def test_focus_is_visible(everything, visit):
    page = visit(everything).page
    seen = 0
    for _ in range(40):
        page.keyboard.press("Tab")
        outlined = page.evaluate("""() => {
            const focused = document.activeElement;
            if (focused === document.body) return null;
            const shown = focused.type === "file" ? focused.nextElementSibling : focused;
            const style = getComputedStyle(shown);
            return [shown.outerHTML.slice(0, 80), style.outlineStyle, parseFloat(style.outlineWidth)];
        }""")
        if outlined is None:
            break
        assert outlined[1] == "solid" and outlined[2] >= 2, outlined
        seen += 1
    assert seen > 8


def test_token(visit, serve):
    from playwright.sync_api import expect

    server = serve(MODEL, "--token=correct-horse-battery")
    visitor = visit(server, ready=False)
    visitor.allow("status of 401")
    page = visitor.page
    field = page.get_by_role("textbox", name="Token")
    expect(field).to_be_focused()
    assert violations(page) == []
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The server did not take this token.")
    field.fill("correct-horse-battery")
    page.keyboard.press("Enter")
    expect(page.locator("#choose")).to_be_attached()
    upload(page, [PICTURE], "1 picture")
    assert "correct" not in page.url
    # A link with the token opens the page at once, and the token leaves the address.
    direct = visit(server, "?token=correct-horse-battery").page
    assert "correct" not in direct.url


def test_views_without_data_say_what_shows_them(visit, serve):
    from playwright.sync_api import expect

    server = serve(MODEL)
    page = visit(server).page
    page.get_by_role("link", name="Cache").click()
    expect(page.get_by_text("logitcache serve --cache CACHE")).to_be_visible()
    page.get_by_role("link", name="Runs").click()
    expect(page.get_by_text("logitcache serve --run RUN")).to_be_visible()


def test_page_is_small(visit, serve):
    server = serve(MODEL)
    visitor = visit(server)
    visitor.page.wait_for_load_state("networkidle")
    sizes = [len(r.response().body()) for r in visitor.requests if "/page/" in r.url or r.url == server.address]
    assert len(sizes) > 10 and sum(sizes) <= 300_000
