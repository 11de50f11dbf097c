"""Tokens and passwords: in no file that is written, and in no message."""

import contextlib
import json

import pytest
import yaml
from models_for_tests import saved_model
from servers_for_tests import Server, completion

from dualselect.cli.main import main


SECRET = "s3cr3t-of-mine"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return saved_model(folder)


@pytest.fixture
def server():
    with contextlib.closing(Server()) as running:
        running.reply = lambda body: (200, completion("#thescore: 1"))
        yield running


def check(folder, capsys):
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    for file in folder.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    return told


def test_a_hub_token_is_written_nowhere(tmp_path, model, capsys):
    config = tmp_path / "mine" / "config.yaml"
    config.parent.mkdir()
    settings = {"model_init_kwargs": {"token": SECRET}, "save_steps": 3, "max_steps": 3, "selection_warmup_steps": 1}
    config.write_text(yaml.safe_dump(settings | {"hub_token": SECRET}))
    command = f"train --config {config} --model_name_or_path {model} --output_dir {tmp_path}/run --use_cpu"
    data = "--task_data builtin:task:8 --reference_data builtin:refusal:4 --per_device_train_batch_size 2"
    assert main([*command.split(), *data.split()]) == 0
    told = check(tmp_path / "run", capsys)
    assert "adapter" in told.out
    assert (tmp_path / "run" / "checkpoint-3").is_dir()


@pytest.mark.parametrize(
    "words",
    [["--hub_token", SECRET, "--no_such_setting", "1"], [f"--hub_token={SECRET}", "--max_steps", "many"]],
)
def test_a_refused_command_does_not_repeat_the_token(tmp_path, capsys, words):
    assert main(["train", *words, "--output_dir", str(tmp_path / "run")]) != 0
    check(tmp_path, capsys)


def test_a_wrong_token_in_a_file_is_not_repeated(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(f"hub_token: [{SECRET}]")
    assert main(["train", "--config", str(tmp_path / "c.yaml")]) != 0
    told = capsys.readouterr().err
    assert "hub_token" in told
    assert SECRET not in told


def address(server, path="/v1"):
    return server.url.replace("http://", f"http://me:{SECRET}@").replace("/v1", path)


def test_the_password_of_a_judge_and_of_a_model_stays_where_it_was_typed(tmp_path, server, capsys):
    command = ["evaluate", "--model", address(server), "--model_name", "m", "--suite", "builtin:1"]
    judge = ["--judge", "openai:rubric", "--judge_url", address(server), "--judge_model", "j"]
    assert main([*command, *judge, "--output", str(tmp_path / "out.json")]) == 0
    check(tmp_path, capsys)
    assert json.loads((tmp_path / "out.json").read_text())["model"]["path"] == server.url
    assert any("Basic" in str(headers.get("Authorization")) for _, headers, _ in server.requests)


def test_nor_is_it_in_an_error(tmp_path, server, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    server.reply = lambda body: (401, {"error": {"message": f"no such key: {SECRET}", "code": None}})
    command = ["evaluate", "--model", address(server), "--model_name", "m", "--suite", "builtin:1"]
    assert main([*command, "--output", str(tmp_path / "out.json")]) != 0
    told = check(tmp_path, capsys)
    assert server.url in told.err
