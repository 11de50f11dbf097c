"""One process in a folder: the second is refused, and a lock left by a kill blocks nobody."""

import signal
import subprocess
import sys

import pytest

from dualselect.errors import ResumeError
from dualselect.system.lock import FOLDER_LOCK, folder_lock, held


HOLD = (
    "import sys, time\nfrom dualselect.system.lock import folder_lock\n"
    "with folder_lock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    with (
        pytest.raises(ResumeError, match=r"run is in use by another dualselect process: .*--output_dir"),
        folder_lock(tmp_path / "run"),
    ):
        pass
    assert held(tmp_path / "run") == [tmp_path / "run" / FOLDER_LOCK]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / FOLDER_LOCK).exists()
    assert held(tmp_path / "run") == []
    with folder_lock(tmp_path / "run"):
        pass


def test_the_holder_may_take_it_again_and_keeps_it_to_the_end(tmp_path):
    with folder_lock(tmp_path):
        with folder_lock(tmp_path):
            pass
        assert held(tmp_path) == [tmp_path / FOLDER_LOCK]
    assert held(tmp_path) == []


def test_a_folder_made_for_nothing_is_removed_and_one_that_was_there_stays(tmp_path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "new" / "deep"):
        with pytest.raises(ValueError, match="stop"), folder_lock(folder):
            raise ValueError("stop")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output_dir .*file.* cannot be written"), folder_lock(tmp_path / "file"):
        pass
