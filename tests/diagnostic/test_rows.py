"""The rows of a diagnostic as they are read."""

import json

from dualselect.diagnostic.rows import read_rows
from dualselect.system.files import write_text


def test_a_category_that_is_missing_is_read_off_the_prompt_and_told(settings, files, tmp_path, caplog):
    rows = [json.loads(line) for line in (files / "pool.jsonl").read_text().splitlines()]
    for number, asked in ((1, "how to steal a car"), (2, "where is my gun"), (5, "a song of summer")):
        rows[number] |= {"category": "", "prompt": asked}
    write_text(tmp_path / "mixed.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    given = read_rows(settings(reference_data=[str(tmp_path / "mixed.jsonl")]))
    expected = {1: "theft", 2: "weapons", 5: "other"}
    assert given.pool["category"] == [expected.get(number, row["category"]) for number, row in enumerate(rows)]
    assert given.from_words == {1, 2, 5}
    assert "3 of 18 references have no category: 2 were inferred from words" in caplog.text


def test_categories_that_are_given_stay_and_nothing_is_told(settings, caplog):
    given = read_rows(settings())
    assert sorted(set(given.pool["category"])) == ["fraud", "hate", "theft"]
    assert not given.from_words
    assert "have no category" not in caplog.text
