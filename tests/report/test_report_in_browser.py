"""The page of a report in a real browser: what a reader does with it, and what hostile rows try to do."""

import pytest
from browser_for_tests import open_row
from runs_for_tests import NASTY, made_evaluation, made_run

from dualselect.report.page import write_report


FIRST_PAINT_SECONDS = 2.0
SHOWN_ROWS = ".tabulator-row"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of two runs, one of them with hostile texts wherever somebody's text can stand."""
    folder = tmp_path_factory.mktemp("runs")
    first = made_evaluation(made_run(folder / "first", nasty=NASTY.replace("\ud800", "")), nasty=NASTY)
    second = made_evaluation(made_run(folder / "second", seed=1), refused=0.5)
    return write_report([first, second], folder / "report.html")


def column(page, table, title):
    """What the rows in view say in a column."""
    titles = page.locator(f"#{table} .tabulator-col-title").all_inner_texts()
    cells = page.locator(f"#{table} {SHOWN_ROWS}").all()
    return [cell.locator(".tabulator-cell").nth(titles.index(title)).inner_text() for cell in cells]


def test_a_click_on_a_heading_sorts(opened, report):
    page = opened(report, viewport={"width": 1600, "height": 900})
    heading = page.locator("#task-rows .tabulator-col", has_text="Loss")
    heading.click()
    down = [float(text) for text in column(page, "task-rows", "Loss")]
    heading.click()
    up = [float(text) for text in column(page, "task-rows", "Loss")]
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)
    assert up[0] < down[0]


def test_search_looks_into_texts_that_are_hidden(opened, report):
    page = opened(report)
    page.locator("#responses input[type=search]").fill("question 5 of builtin-HARMFUL")
    assert page.locator("#responses output").inner_text() == "2 of 144 rows"
    assert column(page, "responses", "Prompt id") == ["builtin-harmful-5", "builtin-harmful-5"]
    assert set(column(page, "responses", "Prompt")) == {"hidden, click to show"}
    page.locator("#responses input[type=search]").fill("nothing has this")
    assert page.get_by_text("No matching rows.").is_visible()


def test_filters_add_up(opened, report):
    page = opened(report)
    page.locator("#responses").get_by_label("Suite").select_option("builtin-lookalike")
    page.locator("#responses").get_by_label("refusal").select_option("refused")
    assert set(column(page, "responses", "Suite")) == {"builtin-lookalike"}
    assert set(column(page, "responses", "refusal")) == {"refused"}
    found = int(page.locator("#responses output").inner_text().split()[0])
    page.locator("#responses").get_by_label("Model").select_option("second")
    assert 0 < int(page.locator("#responses output").inner_text().split()[0]) < found
    page.locator("#task-rows").get_by_label("Selection").select_option("always dropped")
    assert {"risky"} == set(column(page, "task-rows", "Kind"))


def test_harmful_texts_open_on_click_only(opened, report):
    page = opened(report)
    harmful = page.locator(f"#responses {SHOWN_ROWS}", has_text="builtin-harmful-0").first
    assert "Question" not in harmful.inner_text()
    open_row(harmful)
    text = page.locator("dialog .text").first
    assert not text.is_visible()
    page.locator("dialog summary").first.click()
    assert text.inner_text() == "Question 0 of builtin-harmful?"
    page.locator("dialog summary", has_text="openai:rubric").click()
    assert page.locator("dialog .text").last.inner_text() == "no verdict in the reply\nmaybe"
    page.get_by_role("button", name="Next").click()
    assert not page.locator("dialog .text").first.is_visible()
    page.get_by_role("button", name="Close").click()
    page.locator("#responses").get_by_label("Suite").select_option("builtin-task")
    assert "Question 0 of builtin-task?" in column(page, "responses", "Prompt")


def test_a_row_shows_every_step_and_the_reason(opened, report):
    page = opened(report)
    page.locator("#task-rows").get_by_label("Selection").select_option("always dropped")
    open_row(page.locator(f"#task-rows {SHOWN_ROWS} button").first, "Enter")
    told = page.locator("dialog").inner_text()
    assert "dropped" in told
    assert "above threshold 1.00" in told


def test_hostile_texts_are_shown_as_text(opened, report):
    page = opened(report)
    page.locator("#responses input[type=search]").fill("onerror")
    open_row(page.locator(f"#responses {SHOWN_ROWS}", has_text="builtin-lookalike-1").first)
    told = page.locator("dialog .text").first.inner_text()
    assert '</script><script>document.title = "taken"</script><img src=x onerror=' in told
    assert "[U+202E]gnp.exe[U+202C] [U+001B][31mred" in told
    page.keyboard.press("Escape")
    page.locator("#task-rows input[type=search]").fill("onerror")
    open_row(page.locator(f"#task-rows {SHOWN_ROWS}").first)
    assert page.title() == "dualselect: first, second"
    assert page.locator("img").count() == 0
    assert "\x1b" not in page.content()
    assert "\u202e" not in page.content()


@pytest.mark.slow  # a page of ten thousand rows
def test_ten_thousand_rows_are_painted_quickly(opened, tmp_path):
    run = made_evaluation(made_run(tmp_path / "large", rows=10_000, references=400), prompts=3_400)
    page = opened(write_report([run], run / "report.html"))
    paint = page.evaluate("performance.getEntriesByType('paint').map(it => it.startTime)")
    assert max(paint) / 1000 < FIRST_PAINT_SECONDS
    assert page.locator("#responses output").inner_text() == "10,200 of 10,200 rows"
    assert page.locator(f"#responses {SHOWN_ROWS}").count() < 200  # only what is in view is in the document
    page.locator("#responses .tabulator-tableholder").evaluate("it => { it.scrollTop = it.scrollHeight }")
    page.locator(f"#responses {SHOWN_ROWS}", has_text="builtin-task-3399").wait_for()


def test_a_phone_scrolls_in_one_direction(opened, report):
    page = opened(report, viewport={"width": 360, "height": 800}, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    open_row(page.locator(f"#responses {SHOWN_ROWS}").first)
    page.locator("dialog").wait_for()
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= 360")


def test_the_dark_scheme_is_light_on_dark(opened, report):
    page = opened(report, color_scheme="dark")
    for place, name in {"body": "color", "#responses .tabulator-cell": "color", "svg text": "fill"}.items():
        color = page.locator(place).first.evaluate(f"it => getComputedStyle(it).{name}")
        assert color == "rgb(255, 255, 255)"
    backgrounds = "it => getComputedStyle(it).backgroundColor"
    for place in (".tabulator", ".tabulator-row", ".tabulator-header", ".tabulator-tableholder .tabulator-table"):
        assert page.locator(f"#responses {place}").first.evaluate(backgrounds) == "rgba(0, 0, 0, 0)"
