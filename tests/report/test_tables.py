"""The tables of a page: what they show at once, what on click, and what not at all."""

import pytest
from runs_for_tests import made_evaluation, made_run

from dualselect.report import tables
from dualselect.report.folders import read_folders
from dualselect.report.texts import RowTexts


@pytest.fixture
def run(tmp_path):
    return read_folders([made_evaluation(made_run(tmp_path / "run"))])[0][0]


def texts(run, **by_role):
    return {run.name: RowTexts(by_role, [])}


def titles(table):
    return [column["title"] for column in table.as_values()["columns"]]


def test_rows_are_covered_unless_known_to_be_harmless_and_never_dropped(run):
    step = next(line for line in run.selection if line["event"] == "step")
    dropped = step["kinds"].index("task")
    step["kept"][dropped] = False
    rows = {row["cells"][0]: row for row in tables.task_table([run], texts(run)).rows}
    assert rows[step["ids"][dropped]]["secret"]
    for row in rows.values():
        assert row["secret"] == (row["cells"][2] == "risky" or row["cells"][7] > 0)
    assert {row["cells"][2] for row in rows.values() if not row["secret"]} == {"task", "lookalike", "chat"}
    for line in run.selection:
        line.pop("kinds", None)
    assert all(row["secret"] for row in tables.task_table([run], texts(run)).rows)


def test_rows_in_conflict_come_first_and_the_never_compared_last(run):
    conflicts = [row["cells"][8] for row in tables.task_table([run], texts(run)).rows]
    compared = [conflict for conflict in conflicts if conflict is not None]
    assert conflicts == sorted(compared, reverse=True) + [None] * (len(conflicts) - len(compared))


def test_columns_that_say_nothing_are_left_out(run):
    without = titles(tables.task_table([run], texts(run)))
    assert "Prompt" not in without
    assert "Run" not in without
    assert "Prompt" in titles(tables.task_table([run], texts(run, task_data={"row-20": ("asked", "answered")})))


def test_few_values_can_be_chosen_and_many_cannot(run):
    choices = {it["title"]: it["choices"] for it in tables.task_table([run], texts(run)).as_values()["columns"]}
    assert choices["Kind"] == ["chat", "lookalike", "risky", "task"]
    assert choices["Row"] == choices["Kept or dropped"] == []


def test_references_are_always_covered(run):
    table = tables.reference_table([run], texts(run, reference_data={"ref-1": ("asked", "refused")}))
    assert all(row["secret"] for row in table.rows)
    assert ["asked", "refused"] in [row["texts"] for row in table.rows]
    chosen = [row["cells"][6] for row in table.rows]
    assert chosen == sorted(chosen, reverse=True)


def test_responses_of_harmless_suites_alone_are_open(run):
    table = tables.response_table(run.evaluations)
    assert {row["cells"][2]: row["secret"] for row in table.rows} == {
        "builtin-harmful": True,
        "builtin-lookalike": False,
        "builtin-task": False,
    }


def test_verdicts_stand_side_by_side_and_the_unscored_say_so(run):
    table = tables.response_table(run.evaluations)
    refusal, rubric = (titles(table).index(name) + 1 for name in ("refusal", "openai:rubric"))
    first, second, *_ = table.rows
    assert first["cells"][rubric] == "unscored"
    assert "no verdict in the reply\nmaybe" in first["texts"]
    assert second["cells"][refusal] in ("refused", "not refused")
    assert second["cells"][rubric] in (1, 4)


def test_what_does_not_fit_is_counted(run, monkeypatch):
    monkeypatch.setattr(tables, "ROW_LIMIT", 10)
    monkeypatch.setattr(tables, "TEXT_LIMIT", 5)
    table = tables.response_table(run.evaluations)
    assert (len(table.rows), table.left_out) == (10, 62)
    assert table.rows[0]["texts"][0] == "Quest\n[25 more characters are not on this page]"
