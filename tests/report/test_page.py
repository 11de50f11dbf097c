"""Sentences of the page of a run."""

import json
import re

from runs_for_tests import made_run

from dualselect.report.page import write_report


def sentence(folder):
    text = write_report([folder], folder / "report.html").read_text("utf-8")
    return re.sub(r"\s+", " ", text[text.index("optimizer steps") :][:300])


def test_the_page_says_which_share_of_the_tokens_was_dropped(tmp_path):
    folder = made_run(tmp_path / "run")
    log = folder / "selection.jsonl"
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    kept = [keep for line in lines if line["event"] == "step" for keep in line["kept"]]
    share = 100 * (1 - sum(kept) / len(kept))
    assert 0 < share < 100
    assert f"{share:.1f}% of the supervised tokens were dropped." in sentence(folder)
    for line in lines:
        line["kept"] = [True for _ in line.get("kept", [])]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert "Nothing was dropped." in sentence(folder)
