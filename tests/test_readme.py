"""The commands and the snippet of the README, in order, in one folder, on a tiny model."""

import json
import re
import shlex

import pytest
from models_for_tests import saved_model

from dualselect.cli.main import main


TINY = {"--suite": "--limit 2 --max_new_tokens 4", "train": "--max_steps 3 --per_device_train_batch_size 4"}
"""What is added to a command so that it takes seconds."""


@pytest.fixture
def readme(repository_root):
    return (repository_root / "README.md").read_text("utf-8")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files that the README names, and a tiny model in place of its models."""
    saved_model(tmp_path / "model", "smollm2")
    for name, prompt, answer in (
        ("my_task", "What is {0} plus {0}?", "{0} plus {0} is twice {0}."),
        ("safe_responses", "Tell me secret {0}.", "I'm sorry, I cannot tell you secret {0}."),
    ):
        rows = [{"prompt": prompt.format(number), "completion": answer.format(number)} for number in range(24)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(text):
    """The lines that begin with `dualselect`, joined over backslashes, without comments."""
    blocks = [block for block in text.split("```")[1::2] if block.startswith("\n")]  # without a language
    lines = re.sub(r"\\\n\s*", " ", "".join(blocks)).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dualselect ")]


def test_each_line_works_on_what_the_lines_above_it_leave(readme, workplace):
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    tiny = snippet.replace("smollm2-135m-instruct", str(workplace / "model"))
    exec(tiny.replace("learning_rate=2e-4", "learning_rate=2e-4, use_cpu=True, disable_tqdm=True"), {})
    assert main(["evaluate", "--model", "runs/first", "--suite", "builtin", *TINY["--suite"].split()]) == 0
    done = []
    for command in commands(readme):
        needs_more = {"compare", "audit"}.intersection(command) or "--judge_url" in command
        if needs_more or command[0] not in ("train", "evaluate", "report"):
            continue
        words = [str(workplace / "model") if word.startswith("Qwen/") else word for word in command]
        extra = next((more for key, more in TINY.items() if key in command), "")
        assert main([*words, *extra.split(), *(["--use_cpu"] if command[0] == "train" else [])]) == 0, command
        done.append(command[0])
    assert done == ["train", "evaluate", "report"]
    assert (workplace / "runs" / "second" / "report.html").exists()


def test_every_command_and_option_of_the_readme_exists(readme, capsys):
    for command in commands(readme):
        assert main([command[0], "--help-all" if command[0] == "train" else "--help"]) == 0
        help_text = capsys.readouterr().out
        for option in (word for word in command if word.startswith("--")):
            train_setting = command[0] == "audit" and option in ("--task_data", "--reference_data", "--output_dir")
            assert option in help_text or train_setting, (command[0], option)
