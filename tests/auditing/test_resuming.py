"""An audit that is killed goes on where it stopped, and leaves the same bytes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualselect.auditing.store import CHUNK_ROWS, ScoreStore


ROWS = 3 * CHUNK_ROWS + 17
SCRIPT = Path(__file__).with_name("killed_audit.py")
FILES = ("audit.jsonl", "audit.csv", "references.jsonl", "summary.json")


def audit(folder, kill_at=0):
    command = [sys.executable, SCRIPT, folder, ROWS, kill_at]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = audit(folder)
    assert done.returncode == 0, done.stderr
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.slow  # many processes
def test_killed_and_resumed_it_leaves_the_same_bytes(whole, tmp_path):
    assert audit(tmp_path, kill_at=2).returncode == -signal.SIGKILL
    assert not (tmp_path / "audit.jsonl").exists()
    before = (tmp_path / ".scores.jsonl").read_bytes()
    assert not before.endswith(b"\n")
    done = audit(tmp_path)
    assert done.returncode == 0, done.stderr
    for name, content in whole.items():
        assert (tmp_path / name).read_bytes() == content, name
    assert len(whole["audit.jsonl"].splitlines()) == ROWS


def test_a_store_keeps_whole_chunks_and_a_whole_last_one(tmp_path):
    store = ScoreStore(tmp_path / "scores", total=CHUNK_ROWS + 3)
    assert store.keep_whole_chunks() == 0
    store.append([{"row": number} for number in range(CHUNK_ROWS)])
    store.append([{"row": CHUNK_ROWS}])
    assert store.keep_whole_chunks() == CHUNK_ROWS
    store.append([{"row": CHUNK_ROWS + number} for number in range(3)])
    with (tmp_path / "scores").open("a") as file:
        file.write('{"row"')
    assert store.keep_whole_chunks() == CHUNK_ROWS + 3
    assert [line["row"] for line in store] == list(range(CHUNK_ROWS + 3))


def test_a_number_that_json_cannot_say_is_no_line(tmp_path):
    store = ScoreStore(tmp_path / "scores", total=1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.append([{"loss": float("nan")}])
    assert store.keep_whole_chunks() == 0
