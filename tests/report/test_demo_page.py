"""The page, from a run made up of small files: what is somebody's text stays text."""

from html.parser import HTMLParser

import pytest

from dualselect.demo import MEASURES, MODELS
from dualselect.report.demo_page import write_demo_page
from dualselect.system.files import write_json, write_text
from dualselect.training.selection_log import SelectionLog


NASTY = '<script>alert(1)</script><img src=x onerror="alert(2)">\u202egnp.exe \x1b[31mred'


@pytest.fixture
def demo(tmp_path):
    rate = {"successes": 3, "count": 4, "low": 0.3, "high": 0.95, "empty": 0}
    for name in MODELS:
        responses = [
            {"id": f"{kind}-1", "kind": kind, "category": "c", "prompt": NASTY, "response": NASTY, "verdict": True}
            for kind in MEASURES
        ]
        write_json(
            tmp_path / "evaluation" / f"{name}.json",
            {"model": name, "measures": dict.fromkeys(MEASURES, rate), "responses": responses},
        )
        write_text(tmp_path / name / "metrics.jsonl", '{"step": 2, "loss": 1.5}\n{"step": 4, "loss": 1.1}\n')
    write_json(tmp_path / "settings.json", {"model": "m", "seed": 0, "risky_share": 0.15})
    log = SelectionLog(tmp_path / "dualselect")
    log.append("refresh", 1, conflict_threshold=2.5)
    log.append("step", 1, kinds=["task", "risky"], conflicts=[0.1, 3.3], kept=[True, False])
    return tmp_path


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.hidden = [], [], "", 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]

    def handle_data(self, data):
        self.text += data


def test_rows_are_text_and_nothing_comes_from_elsewhere(demo):
    page = Page(write_demo_page(demo, MODELS, MEASURES).read_text(encoding="utf-8"))
    assert not {"script", "img", "iframe", "link"} & set(page.tags)
    assert page.links == []
    assert "<script>alert(1)</script>" in page.text
    assert "75%" in page.text
    assert page.tags.count("svg") == 3


def test_harmful_requests_are_inside_what_opens_on_click(demo):
    text = write_demo_page(demo, MODELS, MEASURES).read_text(encoding="utf-8")
    assert "<details open" not in text
    before = text[: text.index("<details>")]
    assert "alert(1)" not in before
    summaries = [part.split("</summary>")[0] for part in text.split("<summary>")[1:]]
    assert not any("alert(1)" in summary for summary in summaries if "refusal-1" in summary)


def test_dropped_rows_are_counted_by_kind(demo):
    text = write_demo_page(demo, MODELS, MEASURES).read_text(encoding="utf-8")
    assert '<td>risky</td><td class="number">1</td><td class="number">1</td>' in text
