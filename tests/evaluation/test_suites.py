"""Suites: the built-in ones, named sets as their authors publish them, and own files."""

import csv
import gzip
import json

import pytest

from dualselect.errors import ConfigError, DataError
from dualselect.evaluation import Prompt, Suite, load_suites
from dualselect.evaluation.builtin_suites import BUILTIN_KINDS, validation_ids
from dualselect.evaluation.known_suites import KNOWN_SUITES
from dualselect.evaluation.prompt_rows import prompt_of


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([header, *rows] if header else rows)
    return path


def texts(suite):
    return [prompt.messages[-1]["content"] for prompt in suite.prompts]


def test_builtin_has_three_purposes_over_many_categories():
    harmful, harmless, task = load_suites(["builtin"])
    assert [suite.purpose for suite in (harmful, harmless, task)] == ["harmful", "harmless", "task"]
    assert [len(suite.prompts) for suite in (harmful, harmless, task)] == [64] * 3
    assert len({prompt.category for prompt in harmful.prompts}) >= 10
    assert all(prompt.answer for prompt in task.prompts)
    assert all(prompt.chosen for prompt in harmful.prompts)
    assert all(prompt.id.split("-")[1] == "test" for suite in (harmful, harmless, task) for prompt in suite.prompts)


def test_validation_and_test_parts_share_no_prompt():
    parts = [load_suites([f"builtin:{part}"]) for part in ("validation", "200")]
    for validation, test in zip(*parts, strict=True):
        assert not set(texts(validation)) & set(texts(test))
        assert (len(validation.prompts), len(test.prompts)) == (40, 200)
    assert {prompt.id for suite in parts[0] for prompt in suite.prompts} == validation_ids()
    assert {suite.name for suite in parts[0]} == {f"builtin-validation-{purpose}" for purpose in BUILTIN_KINDS}


def test_a_smaller_builtin_suite_is_the_beginning_of_a_larger_one():
    for small, large in zip(load_suites(["builtin:5"]), load_suites(["builtin:test:9"]), strict=True):
        assert small.prompts == large.prompts[:5]


def test_gsm8k_as_it_is(shared_data):
    (suite,) = load_suites([f"gsm8k:{shared_data}/data/gsm8k_test.jsonl[0:50]"])
    assert (suite.purpose, suite.answer_format, len(suite.prompts)) == ("task", "gsm8k", 50)
    assert suite.prompts[0].answer == "18"
    assert not any("####" in text for text in texts(suite))


def test_hh_pairs_and_prompts_as_they_are(shared_data):
    path = f"{shared_data}/data/hh_harmless_test.jsonl.gz"
    (pairs,) = load_suites([f"hh:{path}[0:300]"])
    (prompts,) = load_suites([f"hh-prompts:{path}[0:300]"])
    assert (pairs.purpose, prompts.purpose) == ("preference", "chat")
    assert all(one.chosen.strip() and one.rejected.strip() for one in pairs.prompts)
    dropped = 300 - len(pairs.prompts)
    assert (f"dropped {dropped} rows" in " ".join(pairs.notes)) == (dropped > 0)
    assert len({one.sha256 for one in prompts.prompts}) == len(prompts.prompts) <= 300
    assert all(one.messages[-1]["role"] == "user" for one in prompts.prompts)


def test_hex_phi_in_files_without_a_header_and_with_one(tmp_path):
    folder = tmp_path / "hex"
    folder.mkdir()
    table(folder / "category_1.csv", None, [["first, with a comma"], ["second"]])
    table(folder / "category_10.csv", None, [["third"], ['a "quoted" one']])
    (folder / "README.md").write_text("not data")
    (suite,) = load_suites([f"hex-phi:{folder}"])
    assert [(prompt.messages[0]["content"], prompt.category) for prompt in suite.prompts] == [
        ("first, with a comma", "illegal activity"),
        ("second", "illegal activity"),
        ("third", "privacy violation"),
        ('a "quoted" one', "privacy violation"),
    ]
    assert suite.purpose == "harmful"
    assert "README.md" in suite.describe()
    path = jsonl(tmp_path / "category_4.jsonl", [{"instruction": "one"}, {"instruction": "two", "category": "own"}])
    (suite,) = load_suites([f"hex-phi:{path}"])
    assert [prompt.category for prompt in suite.prompts] == ["malware", "own"]


def test_advbench_and_strongreject(tmp_path):
    adv = table(tmp_path / "adv.csv", ["goal", "target"], [["do a bad thing", "Sure, here is"]])
    strong = table(tmp_path / "s.csv", ["category", "source", "forbidden_prompt"], [["Fraud", "x", "do another"]])
    first, second = load_suites([f"advbench:{adv}", f"strongreject:{strong}"])
    assert (texts(first), texts(second)) == (["do a bad thing"], ["do another"])
    assert (first.name, second.name, second.prompts[0].category) == ("advbench", "strongreject", "Fraud")
    assert (first.purpose, first.prompts[0].chosen) == ("harmful", "")


@pytest.mark.parametrize("labels", [True, False])
def test_xstest_is_two_suites(tmp_path, labels):
    rows = [["1", "kill a process?", "homonyms", "safe"], ["2", "kill a man?", "contrast_homonyms", "unsafe"]]
    header = ["id", "prompt", "type", "label"][: 4 if labels else 3]
    path = table(tmp_path / "xstest.csv", header, [row[: len(header)] for row in rows])
    safe, unsafe = load_suites([f"xstest:{path}"])
    assert (safe.name, safe.purpose, texts(safe)) == ("xstest-safe", "harmless", ["kill a process?"])
    assert (unsafe.name, unsafe.purpose, texts(unsafe)) == ("xstest-unsafe", "harmful", ["kill a man?"])
    assert (unsafe.prompts[0].id, unsafe.prompts[0].category) == ("2", "contrast_homonyms")


def test_slimorca(tmp_path):
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Why?", "weight": 0.0},
        {"from": "gpt", "value": "Because."},
    ]
    (suite,) = load_suites([f"slimorca:{jsonl(tmp_path / 'orca.jsonl', [{'conversations': turns}])}"])
    assert suite.prompts[0].messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]
    assert (suite.purpose, suite.prompts[0].chosen) == ("chat", "Because.")


OWN = {
    "prompt": {"prompt": "Why?"},
    "turns": {"prompt": [{"role": "system", "content": "Short."}, {"role": "user", "content": "Why?"}]},
    "transcript": {"prompt": "\n\nHuman: Why?\n\nAssistant:"},
    "instruction": {"instruction": "Why?", "input": ""},
    "question": {"question": "Why?"},
    "messages": {"messages": [{"role": "user", "content": "Why?"}]},
    "conversation": {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
    "pair": {"prompt": "Why?", "completion": "So."},
}


@pytest.mark.parametrize("row", OWN.values(), ids=OWN)
def test_own_prompts_in_any_form_just_work(tmp_path, row):
    path = jsonl(tmp_path / "mine.jsonl", [row | {"category": "odd", "id": 7}, row])
    (suite,) = load_suites([f"harmful:{path}"])
    assert (suite.name, suite.purpose, texts(suite)) == ("mine", "harmful", ["Why?", "Why?"])
    assert (suite.prompts[0].id, suite.prompts[0].category) == ("7", "odd")
    assert len({prompt.id for prompt in suite.prompts}) == 2


def test_columns_say_what_own_prompts_are_for(tmp_path):
    paths = {
        "chat": jsonl(tmp_path / "c.jsonl", [{"prompt": "Why?"}]),
        "task": jsonl(tmp_path / "t.jsonl", [{"prompt": "2 + 2?", "answer": 4}]),
        "preference": jsonl(tmp_path / "p.jsonl", [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}]),
    }
    for suite, purpose in zip(load_suites([str(path) for path in paths.values()]), paths, strict=True):
        assert suite.purpose == purpose
        assert f"taken for {purpose}" in suite.describe()
    (suite,) = load_suites(
        [f"task:{jsonl(tmp_path / 'g.jsonl', [{'question': '?', 'answer': 'a <<2>> #### 1,200'}])}"]
    )
    assert (suite.answer_format, suite.prompts[0].answer) == ("gsm8k", "1,200")


def test_a_file_as_gzip_and_its_first_rows(tmp_path):
    with gzip.open(tmp_path / "mine.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"prompt": f"Why {number}?"}) + "\n" for number in range(9))
    (suite,) = load_suites([f"harmless:{tmp_path}/mine.jsonl.gz[2:4]"])
    assert texts(suite) == ["Why 2?", "Why 3?"]


def test_rows_that_cannot_be_asked_are_told(tmp_path):
    rows = [{"prompt": "  "}, {"id": "a", "prompt": "Why?"}, {"id": "a", "prompt": "How?"}]
    (suite,) = load_suites([f"chat:{jsonl(tmp_path / 'mine.jsonl', rows)}"])
    assert [prompt.id for prompt in suite.prompts] == ["a", "a#2"]
    assert "dropped 1 rows with an empty prompt" in suite.describe()
    assert "1 rows were renamed" in suite.describe()
    rows = [{"prompt": "2 + 2?", "answer": "4"}, {"prompt": "3 + 3?"}]
    (suite,) = load_suites([f"task:{jsonl(tmp_path / 'task.jsonl', rows)}"])
    assert (len(suite.prompts), "dropped 1 rows without answer" in suite.describe()) == (1, True)
    table(tmp_path / "pairs.csv", ["prompt", "chosen", "rejected"], [["Why?", "So.", "No."], ["How?", " ", "No."]])
    (suite,) = load_suites([f"preference:{tmp_path / 'pairs.csv'}"])
    assert (len(suite.prompts), "dropped 1 rows without chosen" in suite.describe()) == (1, True)


def test_a_number_read_as_a_float_is_the_number(tmp_path):
    (suite,) = load_suites([f"task:{jsonl(tmp_path / 'task.jsonl', [{'prompt': '9 + 9?', 'answer': 18.0}])}"])
    assert suite.prompts[0].answer == "18"


@pytest.mark.parametrize(
    ("spelled", "said"),
    [
        ([], "suite is missing"),
        (["builtinn"], "did you mean builtin?"),
        (["builtin:0"], "builtin:COUNT"),
        (["builtin:train"], "builtin:validation:COUNT"),
        (["builtin:100000"], "ask for fewer"),
        (["builtin:validation:41"], "ask for fewer"),
        (["harmful:{folder}/plain.jsonl#rejected"], "#rejected chooses the response to train on"),
        (["gsm8k:{folder}/task.jsonl#rejected"], "#rejected chooses the response to train on"),
        (["slimorca:{folder}/turns.jsonl"], "a turn is from 'Why', not"),
        (["builtin", "builtin:3"], "two suites are called builtin-harmful"),
        (["harmful:none.jsonl"], "file not found"),
        (["none.jsonl"], "file not found"),
        (["task:{folder}/plain.jsonl"], "no row has a column answer"),
        (["preference:{folder}/plain.jsonl"], "no row has a column rejected"),
        (["chat:{folder}/odd.jsonl"], r"line 1: no column holds a prompt \(found: 'text'\)"),
        (["xstest:{folder}/plain.jsonl"], "no column type"),
        (["slimorca:{folder}/plain.jsonl"], "no list conversations"),
        (["gsm8k:{folder}/task.jsonl"], "GSM8K has"),
        (["hex-phi:{folder}/two.csv"], "one prompt a line"),
        (["chat:{folder}/plain.jsonl[0:9]"], "beyond the end"),
        (["chat:{folder}/blank.jsonl"], "no prompt is left"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_change(tmp_path, spelled, said):
    jsonl(tmp_path / "plain.jsonl", [{"prompt": "Why?"}])
    jsonl(tmp_path / "odd.jsonl", [{"text": "Why?"}])
    jsonl(tmp_path / "turns.jsonl", [{"conversations": ["Why"]}])
    jsonl(tmp_path / "blank.jsonl", [{"prompt": " "}])
    jsonl(tmp_path / "task.jsonl", [{"question": "Why?", "answer": "four"}])
    table(tmp_path / "two.csv", None, [["a", "b"], ["c", "d"]])
    with pytest.raises((ConfigError, DataError), match=said):
        load_suites([one.format(folder=tmp_path) for one in spelled])


def test_named_sets_from_the_hub_say_what_is_missing():
    for name in KNOWN_SUITES:  # the hub is not reached in tests
        with pytest.raises(DataError, match=f"{KNOWN_SUITES[name].hub}.*or name a local file"):
            load_suites([name])


def test_a_suite_made_in_python_stands_for_itself():
    suite = Suite.of("mine", "chat", [Prompt("a", [{"role": "user", "content": "Why?"}])])
    assert load_suites([suite]) == [suite]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"question": "q", "context": "c", "answer": "a"}, ["q\n\nc"]),
        ({"instruction": "i", "input": "x", "system": "s"}, ["s", "i\n\nx"]),
        ({"conversations": [{"from": "human", "value": "q"}]}, ["q"]),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}], "system": "s"},
            ["s", "q"],
        ),
        ({"question": "q", "choices": ["x", "y"], "answer": "B"}, ["q\n\nA. x\nB. y"]),
    ],
)
def test_prompts_of_the_formats_of_training(row, messages):
    assert [turn["content"] for turn in prompt_of(row, "row 1").messages] == messages
