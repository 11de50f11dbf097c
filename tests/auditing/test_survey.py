"""What the first pass over the data reads, renders and refuses."""

import json

import pytest
from datasets import Dataset
from small_audits_for_tests import audited, config, task_rows, turns
from tokenizers_for_tests import chatml_tokenizer

from dualselect.auditing import TaskRows
from dualselect.auditing.measuring import row_tokenizer
from dualselect.data import as_conversations, tokenize
from dualselect.errors import ConfigError, DataError


def refusing(word):
    tokenizer = chatml_tokenizer()
    check = f"{{% for one in messages %}}{{% if '{word}' in one.content %}}{{{{ raise_exception('no {word}') }}}}"
    tokenizer.chat_template = check + "{% endif %}{% endfor %}" + tokenizer.chat_template
    return tokenizer


def test_a_row_that_the_template_refuses_is_named_before_the_model_works(tmp_path, monkeypatch):
    monkeypatch.setattr("dualselect.auditing.auditing.adapted", None)
    rows = [{"id": f"r{n}", "prompt": f"question {n}", "completion": "yes"} for n in range(80)]
    rows[71]["completion"] = "zebra"
    with pytest.raises(DataError, match=r"task row 71 \(id 'r71'\): the chat template refuses the row \(no zebra\)"):
        audited(tmp_path, rows=[row | turns(row) for row in rows], tokenizer=refusing("zebra"))
    assert not list(tmp_path.glob("*.json*"))


def test_a_row_that_could_not_be_learned_from_is_not_rendered(tmp_path):
    zebra = {"id": "zebra", "prompt": "a zebra", "completion": " "}
    found, _ = audited(tmp_path, rows=[*task_rows(), zebra | turns(zebra)], tokenizer=refusing("zebra"))
    assert found[-1]["unscored"] == "empty response"


def naming_tools():
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = "{% if tools %}{{ tools[0].name }}{% endif %}" + tokenizer.chat_template
    return tokenizer


def test_tools_reach_the_template_as_in_a_training(tmp_path):
    plain = Dataset.from_list(task_rows())
    tooled = plain.add_column("tools", [json.dumps([{"name": f"tool {place}"}]) for place in range(len(plain))])
    trained = tokenize(as_conversations(tooled, name="task"), naming_tools(), max_length=256).dataset
    conversations = [row.conversation for row in TaskRows.of(tooled)]
    found = row_tokenizer(naming_tools(), config(tmp_path))(conversations)
    for name in ("input_ids", "labels"):
        assert [list(row[name]) for row in found] == [list(tokens) for tokens in trained[name]]
    assert "tool 7" in naming_tools().decode(found[7]["input_ids"])
    audited(tmp_path, rows=list(plain), tokenizer=naming_tools(), controls=False)
    with pytest.raises(ConfigError, match="finished audit of different data"):
        audited(tmp_path, rows=list(tooled), tokenizer=naming_tools(), controls=False)
