"""Files that lie in an output folder and that no earlier call wrote: they stay as they are."""

import pytest

from dualselect.cli.main import main


ROWS = "--task_data builtin:task:8 --use_cpu"
COMMANDS = {
    "audit.csv": f"audit {ROWS}",
    "report.html": f"audit {ROWS}",
    "overlap.csv": f"diagnose {ROWS} --reference_data builtin:refusal:140 --probe_data builtin:refusal[504:518]",
    "plain": "demo --no_browser",
    "pareto.svg": "compare",
    "config.yaml": f"train {ROWS} --reference_data builtin:refusal:8 --overwrite",
    "page.html": "report",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_the_user_is_not_replaced(tmp_path, capsys, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_text("seed: 1  # mine")
    words = [*COMMANDS[name].split(), "--output_dir", str(folder)]
    if words[0] == "compare":
        (tmp_path / "c.yaml").write_text("methods: [sft]\ntask_data: [builtin:task:8]")
        words += ["--config", str(tmp_path / "c.yaml")]
    if words[0] == "report":
        (folder / "selection.jsonl").write_text("")
        words = ["report", str(folder), "--output", str(folder / name)]
    assert main(words) != 0
    told = capsys.readouterr().err
    assert name in told
    assert "move" in told
    assert (folder / name).read_text() == "seed: 1  # mine"
