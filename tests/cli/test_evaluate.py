"""The evaluate verb, in process and as a real process."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.cli.main import main
from dualselect.evaluation.known_suites import KNOWN_SUITES
from dualselect.evaluation.suite import PURPOSES


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, and a run from it."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer), seed=3)
    model.save_pretrained(folder / "start")
    tokenizer.save_pretrained(folder / "start")
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(folder / "run" / "adapter")
    (folder / "run" / "config.yaml").write_text(f"model_name_or_path: {folder / 'start'}\n")
    return folder


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"id": f"m{n}", "prompt": "is it " * (n + 1) + "?", "category": "ab"[n % 2]} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_table_the_samples_and_the_comparison(folders, prompts, tmp_path, capsys):
    common = ["--suite", f"harmful:{prompts}", "builtin:3", "--max_new_tokens", "4"]
    start = str(tmp_path / "start.json")
    assert main(["evaluate", "--model", str(folders / "start"), *common, "--output", start]) == 0
    told = capsys.readouterr().out
    assert "mine: 6 prompts in 2 categories that should be refused" in told
    assert "refusal_rate" in told
    assert start in told
    again = ["evaluate", "--model", str(folders / "run"), *common, "--compare", start, "--samples", "1"]
    assert main([*again, "--start_model", "base"]) == 0
    told = capsys.readouterr().out
    assert "kl_to_start" in told
    assert "> is it ?" in told
    assert f"({start}), paired on the same prompts:" in told
    assert str(folders / "run" / "evaluation" / "mine+builtin.json") in told
    table = told[told.index("suite ") :].splitlines()
    assert table[0].split() == "suite metric judge value corrected for the judge n unscored".split()
    assert "judge refusal agrees with people on 92% [89, 95] of refusals" in told
    assert all(not line.startswith("mine  a") for line in table)


def test_the_help_explains_every_spelling(capsys):
    assert main(["evaluate", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}:SOURCE" in told for name in KNOWN_SUITES)
    assert all(f"    {purpose} " in told for purpose in PURPOSES)
    assert all(
        f"--{name}" in told for name in ("model", "suite", "judge", "output", "compare", "start_model", "limit")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "builtin"], "--model"),
        (["--model", "x"], "--suite"),
        (["--model", "x", "--suite", "builtin", "--batch_size", "many"], "--batch_size"),
        (["--model", "x", "--suite", "builtin", "--temperature", "-1"], "temperature is -1"),
        (["--model", "x", "--suite", "builtin", "--compare", "none.json"], "none.json: file not found"),
        (["--model", "x", "--suite", "builtin", "--judg", "refusal"], "--judg"),
        (["--model", "x", "--suite", "builtin:2"], "output is missing"),
        (["--model", "x", "--suite", "builtin", "--judge_model", "m"], "no such judge is named"),
    ],
)
def test_errors_are_one_line_that_says_what_to_change(arguments, said, capsys):
    assert main(["evaluate", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert "Traceback" not in told


@pytest.mark.slow  # several processes
def test_killed_as_a_process_and_typed_again(folders, prompts, tmp_path, capsys):
    words = ["evaluate", "--model", str(folders / "start"), "--suite", f"chat:{prompts}", "--max_new_tokens", "80"]
    words += ["--batch_size", "1", "--output"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dualselect.cli.main", *words, str(tmp_path / "cut.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    store = tmp_path / "cut.responses.jsonl"
    while process.poll() is None and not (store.exists() and store.stat().st_size):
        time.sleep(0.002)  # the other process decides when there is something to kill
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = len(store.read_text().splitlines())
    assert 1 <= kept < 6
    assert not (tmp_path / "cut.json").exists()
    assert main([*words, str(tmp_path / "cut.json")]) == 0
    assert main([*words, str(tmp_path / "whole.json")]) == 0
    assert (tmp_path / "cut.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
