"""Bad input, through the command line: what was seen and what to change is said, and nothing is written."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.cli.main import main
from dualselect.system.lock import FOLDER_LOCK
from dualselect.training.checkpoints import write_manifest


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    model.save_pretrained(folder / "good")
    tokenizer.save_pretrained(folder / "good")
    tokenizer.chat_template = None
    shutil.copytree(folder / "good", folder / "no_template")
    (folder / "no_template" / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder / "no_template")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, models):
    """A folder with good data, in which a case spoils something."""
    monkeypatch.chdir(tmp_path)
    write("task.jsonl", [{"question": f"q{n}?", "answer": f"a{n}."} for n in range(8)])
    write("safe.jsonl", [{"prompt": f"bad {n}?", "completion": "I cannot help."} for n in range(4)])
    (tmp_path / "models").symlink_to(models)
    return tmp_path


def write(name, rows):
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    Path(name).write_text(text, encoding="utf-8")


def arguments(*changed):
    settings = {
        "--model_name_or_path": "models/good",
        "--task_data": "task.jsonl",
        "--reference_data": "safe.jsonl",
        "--output_dir": "run",
        "--max_steps": "4",
        "--selection_warmup_steps": "1",
        "--per_device_train_batch_size": "2",
        "--harmless_drop_rate": "0.2",
    }
    flags = []
    for word in changed:
        name, _, value = word.partition("=")
        if value == "-":
            settings.pop(name)
        elif value:
            settings[name] = value
        else:
            flags.append(name)
    return ["train", *flags, "--use_cpu", *[part for pair in settings.items() for part in pair]]


def messages(*turns):
    return [{"messages": [{"role": role, "content": content} for role, content in turns]}]


# What is spoiled, the arguments, and what the message must name: what was seen, and what to change.
CASES = {
    "missing file": (None, ["--task_data=tusk.jsonl"], ["tusk.jsonl", "task.jsonl"]),
    "missing folder": (None, ["--task_data=none/task.jsonl"], ["none/task.jsonl", "check the path"]),
    "no task data": (None, ["--task_data=-"], ["task_data is missing", "write --task_data"]),
    "no reference data": (None, ["--reference_data=-"], ["reference_data is missing", "write --reference_data"]),
    "no output": (None, ["--output_dir=-"], ["output_dir is missing", "write --output_dir"]),
    "empty file": (lambda: write("task.jsonl", ""), [], ["task.jsonl", "write at least one row"]),
    "empty folder": (lambda: Path("rows").mkdir(), ["--task_data=rows"], ["rows", "put .jsonl"]),
    "unknown ending": (lambda: write("task.txt", "x"), ["--task_data=task.txt"], ["task.txt", ".jsonl"]),
    "wrong columns": (lambda: write("task.jsonl", [{"a": "b"}]), [], ["task.jsonl", "'a'", "Rename"]),
    "not UTF-8": (
        lambda: Path("task.jsonl").write_bytes(b'{"question": "q", "answer": "a"}\n{"question": "caf\xe9"}\n'),
        [],
        ["task.jsonl", "line 2", "UTF-8"],
    ),
    "broken JSON": (
        lambda: write("task.jsonl", '{"question": "q", "answer": "a"}\n\n{"question": \n'),
        [],
        ["task.jsonl", "line 3"],
    ),
    "a row that is not an object": (lambda: write("task.jsonl", "[1, 2]\n"), [], ["task.jsonl", "line 1", "object"]),
    "JSON that is not a list": (
        lambda: write("task.json", '{"a": 1}'),
        ["--task_data=task.json"],
        ["task.json", "list"],
    ),
    "truncated gzip": (
        lambda: Path("task.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9]),
        ["--task_data=task.jsonl.gz"],
        ["task.jsonl.gz"],
    ),
    "broken Parquet": (lambda: write("task.parquet", "x"), ["--task_data=task.parquet"], ["task.parquet"]),
    "ragged CSV": (
        lambda: write("task.csv", "question,answer\nq,a\nq,a,b\n"),
        ["--task_data=task.csv"],
        ["task.csv", "row 3"],
    ),
    "bad slice": (None, ["--task_data=task.jsonl[a:b]"], ["[a:b]", "[start:stop]"]),
    "slice beyond the end": (None, ["--task_data=task.jsonl[0:99]"], ["99", "8 rows", "lower it"]),
    "unknown column": (None, ["--task_data=task.jsonl#best"], ["#best", "#chosen or #rejected"]),
    "no rejected responses": (None, ["--task_data=task.jsonl#rejected"], ["rejected"]),
    "last turn of the user": (lambda: write("task.jsonl", messages(("user", "q"))), [], ["task.jsonl", "assistant"]),
    "unknown role": (
        lambda: write("task.jsonl", messages(("user", "q"), ("bot", "a"))),
        [],
        ["task.jsonl", "bot", "assistant"],
    ),
    "all responses empty": (lambda: write("task.jsonl", [{"question": "q", "answer": " "}]), [], ["empty response"]),
    "all rows too long": (None, ["--max_length=3"], ["max_length", "12 tokens"]),
    "overlap": (
        lambda: write("safe.jsonl", [{"prompt": "Q3?", "completion": "I cannot."}]),
        [],
        ["is also in the task data", "allow_prompt_overlap"],
    ),
    "missing config": (None, ["--config=settings.yaml"], ["settings.yaml does not exist"]),
    "broken YAML": (lambda: write("c.yaml", "rho: [1\n"), ["--config=c.yaml"], ["c.yaml", "line 2", "key: value"]),
    "unknown key in YAML": (lambda: write("c.yaml", "rhoo: 1\n"), ["--config=c.yaml"], ["rhoo", "did you mean rho?"]),
    "key twice in YAML": (lambda: write("c.yaml", "rho: 1\nrho: 2\n"), ["--config=c.yaml"], ["rho", "twice"]),
    "wrong type in YAML": (
        lambda: write("c.yaml", "max_steps: many\n"),
        ["--config=c.yaml"],
        ["max_steps", "an integer"],
    ),
    "unknown key": (None, ["--reference_topk=3"], ["reference_topk", "did you mean reference_top_k?"]),
    "wrong type": (None, ["--learning_rate=fast"], ["--learning_rate", "a number"]),
    "bad choice": (None, ["--correction=push"], ["push", "project_add"]),
    "negative budget": (None, ["--task_token_budget=-0.5"], ["task_token_budget is -0.5", "(0, 1]"]),
    "K = 0": (None, ["--reference_top_k=0"], ["reference_top_k is 0", "1 or more"]),
    "two budgets": (None, ["--task_top_k=2", "--task_token_budget=0.5"], ["task_top_k", "leave one out"]),
    "rho not a number": (None, ["--rho=nan"], ["rho is nan", "finite"]),
    "packing": (
        None,
        ["--packing=true", "--packing_strategy=wrapped"],
        ["packing_strategy: wrapped", "Use packing_strategy: bfd"],
    ),
    "padding free": (
        None,
        ["--padding_free=true", "--pad_to_multiple_of=8"],
        ["padding_free", "Use no pad_to_multiple_of"],
    ),
    "compile": (None, ["--torch_compile=true"], ["torch_compile", "Use torch_compile: false"]),
    "whole layers in 16 bits": (None, ["--use_peft=false", "--dtype=bfloat16"], ["dtype is bfloat16", "bf16: true"]),
    "whole layers in 4 bits": (None, ["--use_peft=false", "--load_in_4bit"], ["4 or 8 bits", "Leave out use_peft"]),
    "kl without an adapter": (
        None,
        ["--use_peft=false", "--preservation_loss=kl"],
        ["trains none", "preservation_loss: excess"],
    ),
    "legacy mask with a template": (None, ["--mask_mode=legacy"], ["mask_mode legacy", "human_assistant"]),
    "a strength that is no number": (None, ["--rho=much"], ["rho is 'much'", "or `auto`"]),
    "nothing but warm-up": (
        None,
        ["--selection_warmup_steps=4"],
        ["4 optimizer steps", "Lower selection_warmup_steps"],
    ),
    "no chat template": (None, ["--model_name_or_path=models/no_template"], ["no chat template", "human_assistant"]),
    "empty model folder": (None, ["--model_name_or_path=models/empty"], ["models/empty", "config.json"]),
    "unknown model": (
        None,
        ["--model_name_or_path=smollm2-135m-instruc"],
        ["smollm2-135m-instruc", "smollm2-135m-instruct"],
    ),
    "no LoRA layer of that name": (None, ["--lora_target_modules=q_prj"], ["q_prj"]),
    "contrast without rejected": (None, ["--reference_contrast=rejected"], ["no rejected response", "compliance"]),
    "resume without a run": (None, ["--resume"], ["contains no run", "leave --resume out"]),
    "resume and overwrite": (None, ["--resume", "--overwrite"], ["resume and overwrite", "remove one"]),
    "budget 0": (None, ["--task_token_budget=0"], ["task_token_budget is 0", "(0, 1]"]),
    "a budget that is not a number": (None, ["--task_token_budget=most"], ["'most'", "`auto`"]),
    "batch size 0": (None, ["--reference_batch_size=0"], ["reference_batch_size is 0", "1 or more"]),
    "fp16": (None, ["--fp16=true"], ["fp16: true", "Use bf16: true"]),
    "reentrant checkpoints": (
        lambda: write(
            "c.yaml", "gradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}\n"
        ),
        ["--config=c.yaml"],
        ["use_reentrant: true", "use_reentrant: false"],
    ),
    "a schedule that does not exist": (None, ["--lr_scheduler_type=cosin"], ["--lr_scheduler_type", "cosine"]),
    "an evaluation without rows": (None, ["--eval_strategy=steps"], ["eval_strategy: steps", "--eval_data"]),
    "a tracker that is not installed": (
        None,
        ["--report_to=dvclive"],
        ["report_to: dvclive", "-m pip install dvclive"],
    ),
    "an optimizer that is not installed": (
        None,
        ["--optim=paged_adamw_8bit", "--task_data=missing.jsonl"],  # said before any row is read
        ["optim: paged_adamw_8bit", "-m pip install bitsandbytes"],
    ),
    "a quantization that is not installed": (
        None,
        ["--load_in_4bit"],
        ["load_in_4bit", "-m pip install bitsandbytes"],
    ),
    "no built-in kind": (None, ["--task_data=builtin:poems"], ["poems", "lookalike"]),
    "more built-in rows than there are": (None, ["--task_data=builtin:chat:9999"], ["9999", "Ask for"]),
    "config is a folder": (lambda: Path("c").mkdir(), ["--config=c"], ["c is a folder", "c/config.yaml"]),
    "config is a list": (lambda: write("c.yaml", "- rho\n"), ["--config=c.yaml"], ["c.yaml", "key: value"]),
    "config is empty": (lambda: write("c.yaml", ""), ["--config=c.yaml"], ["c.yaml is empty", "key: value"]),
    "a config file without --config": (
        None,
        ["--packing=false", "c.yaml"],
        ["'c.yaml'", "did you mean --config c.yaml?"],
    ),
    "config named nearly right": (
        lambda: write("settings.yaml", "rho: 1\n"),
        ["--config=settings1.yaml"],
        ["settings1.yaml does not exist", "did you mean settings.yaml?"],
    ),
    "a checkpoint that was cut off": (
        lambda: Path("run/checkpoint-5").mkdir(parents=True),
        ["--resume"],
        ["no checkpoint that can be used", "checkpoint-5", "--overwrite"],
    ),
    "a checkpoint of another run": (
        lambda: (
            Path("run/checkpoint-2").mkdir(parents=True),
            write("run/checkpoint-2/dualselect_state.safetensors", ""),
            write_manifest("run/checkpoint-2", 2),
        ),
        ["--resume_from_checkpoint=other/checkpoint-2"],
        ["other/checkpoint-2", "Write --resume"],
    ),
    "a text as a list of files": (
        lambda: write("c.yaml", "task_data: {file: task.jsonl}\n"),
        ["--config=c.yaml"],
        ["task_data", "a list"],
    ),
    "output is a file": (lambda: write("run", "mine"), [], ["run", "--output_dir"]),
    "output below a file": (None, ["--output_dir=task.jsonl/run"], ["task.jsonl/run", "--output_dir"]),
    "output in use": (
        lambda: (Path("run").mkdir(), write("run/selection.jsonl", "")),
        [],
        ["interrupted run", "--resume", "--overwrite"],
    ),
}


def tree():
    """Every file and folder; the lock of a folder stays in it, and says nothing."""
    found = (path for path in Path.cwd().rglob("*") if path.name != FOLDER_LOCK)
    return {str(path): path.read_bytes() if path.is_file() else None for path in found}


@pytest.mark.parametrize("case", CASES)
def test_the_message_helps_and_nothing_is_written(place, capsys, case):
    spoil, changed, named = CASES[case]
    if spoil:
        spoil()
    before = tree()
    assert main(arguments(*changed)) == 2
    told = capsys.readouterr().err
    assert told.count("error: ") == 1, told
    for words in named:
        assert words in told
    assert tree() == before


def test_there_are_enough_of_them():
    assert len(CASES) >= 40


def test_other_settings_cannot_resume_a_run(place, capsys):
    assert main(arguments("--save_steps=2")) == 0
    shutil.rmtree("run/adapter")
    assert main(["train", "--config", "run/config.yaml", "--resume", "--rho", "0.7"]) == 2
    told = capsys.readouterr().err
    assert "rho" in told
    assert "must be the same run" in told


def test_a_finished_run_is_not_overwritten(place, capsys):
    assert main(arguments()) == 0
    before = tree()
    assert main(arguments()) == 2
    assert "finished run" in capsys.readouterr().err
    assert tree() == before


@pytest.mark.parametrize(
    "limit",
    [pytest.param(2_000, id="before anything", marks=pytest.mark.slow), pytest.param(20_000, id="in the middle")],
)
def test_a_full_disk_is_told_and_leaves_no_half_file(place, limit):
    """No file of the process may grow past the limit: a real refusal of the system, as a full disk is."""
    program = (
        "import resource, signal, sys; from dualselect.cli.main import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments()], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("run", "adapter").exists()
    assert Path("run").exists() == (limit > 4096)
    assert [path.name for path in Path("run").glob(".*")] in ([], [FOLDER_LOCK])
