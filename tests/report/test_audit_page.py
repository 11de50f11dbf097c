"""The page of an audit in a real browser."""

import json

import pytest
from audits_for_tests import made_audit
from browser_for_tests import open_row
from runs_for_tests import NASTY

from dualselect.errors import DataError
from dualselect.report import audit_page
from dualselect.report.audit_page import write_audit_page
from dualselect.system.files import write_text


def test_rows_are_ranked_searched_filtered_and_explained(opened, tmp_path):
    folder = made_audit(tmp_path / "audit")
    page = opened(write_audit_page(folder, folder / "report.html"))
    assert page.locator("#task-rows .tabulator-row").first.locator("button").inner_text() == "row-0"
    assert page.locator("#task-rows output").inner_text() == "29 of 29 rows"
    page.locator("#task-rows").get_by_label("In conflict").select_option("yes")
    assert page.locator("#task-rows output").inner_text() == "8 of 29 rows"
    page.locator("#task-rows input[type=search]").fill("question 4?")
    row = page.locator("#task-rows .tabulator-row").first
    assert "hidden, click to show" in row.inner_text()
    open_row(row)
    told = page.locator("dialog").inner_text()
    assert "fraud" in told
    assert "ref-2" in told
    text = page.locator("dialog .text").first
    assert not text.is_visible()
    page.locator("dialog summary").first.click()
    assert text.inner_text().startswith("Question 4?")


def test_harmless_rows_are_open_and_references_are_not(opened, tmp_path):
    folder = made_audit(tmp_path / "audit")
    page = opened(write_audit_page(folder, folder / "report.html"))
    page.locator("#task-rows").get_by_label("Kind").select_option("task")
    assert "Question 1?" in page.locator("#task-rows .tabulator-row").first.inner_text()
    assert "Harmful question" not in page.locator("#references").inner_text()
    open_row(page.locator("#references .tabulator-row").first)
    page.locator("dialog summary").first.click()
    assert page.locator("dialog .text").first.inner_text().startswith("Harmful question 0?")


def test_rows_in_conflict_or_of_no_known_kind_are_covered(tmp_path):
    folder = made_audit(tmp_path / "audit")
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    lines[1]["conflict"], lines[2]["kind"] = True, ""
    write_text(folder / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    page = write_audit_page(folder, folder / "report.html").read_text("utf-8")
    data = json.loads(page.partition('id="task-rows-data">')[2].partition("</script>")[0])
    secret = {row["cells"][0]: row["secret"] for row in data["rows"][:8]}
    assert secret == {f"row-{number}": number in (0, 1, 2, 4) for number in range(8)}


def test_the_numbers_stand_above_the_tables(tmp_path):
    folder = made_audit(tmp_path / "audit")
    text = write_audit_page(folder, folder / "report.html").read_text("utf-8")
    advice = "<span>--task_token_budget auto</span> <span>--reference_contrast rejected</span>"
    for part in (
        advice,
        "75.0% of the task tokens",
        "25.0%",
        "empty response",
        "drop what conflicts",
        "Categories without a direction",
        "small",
        "could be held out: single",
    ):
        assert part in text
    assert "compared individually with the 4 highest-ranked of the 5 selected references" in text
    assert "control: loss after fine-tuning on the pool" in text
    assert text.count("<figure>") == 3
    assert (
        '<tr><th scope="row">fraud</th><td class="number">8</td><td class="number">100.0% <small>[67.6, 100.0]' in text
    )


def test_hostile_texts_are_shown_as_text(opened, tmp_path):
    folder = made_audit(tmp_path / "audit", nasty=NASTY.replace("\ud800", "").replace("\u2028", ""))
    page = opened(write_audit_page(folder, folder / "report.html"))
    page.locator("#task-rows input[type=search]").fill("onerror")
    open_row(page.locator("#task-rows .tabulator-row").first)
    page.locator("dialog[open] summary").first.click()
    assert "onerror" in page.locator("dialog .text").first.inner_text()
    assert page.title() == "dualselect audit: audit"
    assert page.locator("img").count() == 0


@pytest.mark.slow
def test_ten_thousand_rows_are_painted_quickly_and_further_ones_counted(opened, tmp_path):
    folder = made_audit(tmp_path / "large", rows=10_400, unscored=100)
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text("utf-8").splitlines()]
    long = [row | {"prompt": row["prompt"] + " please" * 300, "completion": "Answer. " * 300} for row in rows]
    write_text(folder / "data.jsonl", "".join(json.dumps(row) + "\n" for row in long))
    page = opened(write_audit_page(folder, folder / "report.html"))
    paint = page.evaluate("performance.getEntriesByType('paint').map(it => it.startTime)")
    assert max(paint) / 1000 < 2.0
    assert page.locator("#task-rows output").inner_text() == "10,000 of 10,000 rows"
    assert "400 rows of lower rank or without a score are omitted" in page.locator("body").inner_text()
    page.locator("#task-rows .tabulator-tableholder").evaluate("it => { it.scrollTop = it.scrollHeight }")
    page.locator("#task-rows .tabulator-row", has_text="row-9999").wait_for()


def test_a_phone_scrolls_in_one_direction(opened, tmp_path):
    folder = made_audit(tmp_path / "audit")
    page = opened(
        write_audit_page(folder, folder / "report.html"), viewport={"width": 360, "height": 800}, is_mobile=True
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_row_that_conflicts_with_no_reference_says_so(tmp_path):
    folder = made_audit(tmp_path / "audit")
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    lines[1]["conflict_references"] = []
    write_text(folder / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    page = write_audit_page(folder, folder / "report.html").read_text("utf-8")
    assert page.count("none of the compared references") == 1


def test_without_the_data_there_are_ids_and_a_reason(tmp_path):
    folder = made_audit(tmp_path / "audit", data=False)
    text = write_audit_page(folder, folder / "report.html").read_text("utf-8")
    assert "Texts are missing" in text
    assert "row-1" in text
    changed = made_audit(tmp_path / "changed")
    write_text(changed / "data.jsonl", '{"id": "other", "prompt": "a", "completion": "b"}\n')
    assert "changed since the audit" in write_audit_page(changed, changed / "report.html").read_text("utf-8")


def test_a_pool_without_categories_has_no_map_of_them(tmp_path):
    folder = made_audit(tmp_path / "audit")
    content = json.loads((folder / "summary.json").read_text("utf-8"))
    for kind in content["kinds"].values():
        kind["categories"] = {"(no category)": {"value": 0.5}}
    write_text(folder / "summary.json", json.dumps(content))
    text = write_audit_page(folder, folder / "report.html").read_text("utf-8")
    assert text.count("<figure>") == 2


def test_rows_of_a_data_set_in_memory_have_no_texts(tmp_path):
    folder = made_audit(tmp_path / "audit", data=False)
    content = json.loads((folder / "summary.json").read_text("utf-8"))
    content["data"]["sources"] = []
    write_text(folder / "summary.json", json.dumps(content))
    text = write_audit_page(folder, folder / "report.html").read_text("utf-8")
    assert "30 rows of a data set in memory" in text
    assert "the rows were passed in memory and cannot be read again" in text


def test_a_folder_without_an_audit_is_refused(tmp_path):
    with pytest.raises(DataError, match="contains no finished audit"):
        audit_page.write_audit_page(tmp_path, tmp_path / "report.html")
