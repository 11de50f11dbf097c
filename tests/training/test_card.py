"""The model card: what it says, what it does not say, and which file it never replaces."""

import pytest
import yaml

from dualselect.models.embedded import EMBEDDED_HUB_NAME, EMBEDDED_MODEL
from dualselect.training.card import Card, public_name, write_card


CARD = Card(
    base="/home/me/models/my-model",
    method="DualSelect",
    paper="Two to Tango, arXiv 2606.09866",
    data={"task data": 1200, "reference data": 64},
    sources={
        "task data": ["/home/me/task.jsonl[0:200]", "owner/rows:train"],
        "reference data": ["builtin:refusal:64"],
    },
    settings={"rho": 0.5, "seed": 0},
    command="dualselect train --config config.yaml",
)


def test_a_card_names_base_method_data_settings_and_command_but_no_folder():
    text = CARD.text()
    assert "| Base model | `my-model` |" in text
    assert "[arXiv 2606.09866](https://arxiv.org/abs/2606.09866)" in text
    assert "| Task data | `task.jsonl[0:200]`, `owner/rows:train`, 1,200 rows |" in text
    assert "| Reference data | `builtin:refusal:64`, 64 rows |" in text
    assert "`dualselect train --config config.yaml`" in text
    assert "rho: 0.5" in text
    assert "/home" not in text
    assert "None" not in text


def test_only_a_hub_name_is_linked_as_base_model():
    of = lambda base: yaml.safe_load(Card(base, "m", "", {}).text().split("---")[1])  # noqa: E731
    assert of("owner/model")["base_model"] == "owner/model"
    assert of(f"/cache/{EMBEDDED_MODEL}")["base_model"] == EMBEDDED_HUB_NAME
    assert "base_model" not in of("/home/me/model")


@pytest.mark.parametrize(
    ("source", "public"),
    [
        (EMBEDDED_MODEL, EMBEDDED_HUB_NAME),
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B"),
        ("./data/rows.jsonl#rejected", "rows.jsonl#rejected"),
        ("/a/b/c", "c"),
        ("a/b/c.csv", "c.csv"),
        ("C:\\me\\rows.csv", "rows.csv"),
        ("builtin", "builtin"),
    ],
)
def test_public_names(source, public):
    assert public_name(source) == public


def test_a_folder_that_looks_like_a_hub_name_keeps_its_last_part(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name("models/mine") == "mine"


def test_hostile_names_stay_text(tmp_path):
    text = Card("x", "m", "", {"task data": 1}, {"task data": ["/d/a|`b`\n# Heading\x1b[31m.jsonl"]}).text()
    assert "\x1b" not in text
    assert "\n# Heading" not in text
    assert "`a\\|'b' # Heading[U+001B][31m.jsonl`" in text


def test_somebodys_readme_stays_and_an_own_card_is_renewed(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    write_card(tmp_path, CARD)
    assert (tmp_path / "README.md").read_text() == "mine"
    (tmp_path / "README.md").unlink()
    write_card(tmp_path, Card("old", "m", "", {}))
    write_card(tmp_path, CARD)
    assert (tmp_path / "README.md").read_text() == CARD.text()
