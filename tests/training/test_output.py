"""What a trainer leaves in its output folder, and what it leaves alone."""

import json

import pytest
from locks_for_tests import lock_of_another_process
from rows_for_tests import trained

from dualselect.errors import ResumeError


SECRET = "hf_a_secret_that_nobody_may_read"


def test_cards_go_where_adapters_are_and_a_readme_of_the_user_stays(tmp_path):
    (tmp_path / "README.md").write_text("# My notes\n")
    trainer = trained(tmp_path, max_steps=3, save_strategy="steps", save_steps=3)
    assert (tmp_path / "README.md").read_text() == "# My notes\n"
    card = (tmp_path / "checkpoint-3" / "README.md").read_text()
    assert "arXiv 2606.09866" in card
    assert "reference_fraction" in card
    assert "None](" not in card
    assert str(tmp_path) not in card
    trainer.save_model(str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "README.md").read_text() == card
    trainer.save_model()
    trainer.create_model_card("name")
    assert (tmp_path / "README.md").read_text() == "# My notes\n"
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_without_a_readme_none_appears_beside_the_logs(tmp_path):
    trained(tmp_path, max_steps=3, save_strategy="steps", save_steps=3)
    assert not (tmp_path / "README.md").exists()


def test_nothing_is_pickled_but_the_optimizer_and_no_token_is_written(tmp_path):
    trainer = trained(tmp_path, max_steps=3, save_strategy="steps", save_steps=3, hub_token=SECRET)
    assert trainer.args.hub_token == SECRET
    assert not list(tmp_path.rglob("training_args.bin"))
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_second_training_in_the_folder_is_refused(tmp_path):
    with lock_of_another_process(tmp_path), pytest.raises(ResumeError, match="in use by another"):
        trained(tmp_path, max_steps=3)
