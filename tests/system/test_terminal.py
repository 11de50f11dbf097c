"""The streams of the command line: nothing acts on the terminal, no password shows, a message begins its own line."""

import io
import logging
import sys
import warnings

import pytest
from tqdm import tqdm

from dualselect.cli import report
from dualselect.cli.main import main
from dualselect.errors import ConfigError
from dualselect.system.terminal import Console, GuardedStream, guarded_terminal


HOSTILE = "\x1b[2J\x1b]8;;http://x\x07\u202eevil\x9b31m\x1b[A"


def shown(bars, *writes):
    stream = io.StringIO()
    guarded = GuardedStream(stream, bars=bars)
    for text in writes:
        guarded.write(text)
    return stream.getvalue()


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize("text", [HOSTILE, f"error: {HOSTILE}\n", f"\x1b[A{HOSTILE}", "a\x1b[Ab", "over\rwritten"])
def test_no_text_acts(bars, text):
    told = shown(bars, text)
    assert not set(told) & set("\x1b\x07\x9b\u202e\r")
    assert "[U+00" in told


def test_bars_still_move():
    stream = io.StringIO()
    guarded = GuardedStream(stream, bars=True)
    with (
        tqdm(total=2, desc=f"outer {HOSTILE}", file=guarded, position=0) as outer,
        tqdm(total=2, desc="inner", file=guarded, position=1, leave=False) as inner,
    ):
        for bar in (inner, outer):
            bar.update(2)
    told = stream.getvalue()
    assert "\router [U+001B][2J" in told
    assert told.replace("\x1b[A", "").isprintable() or set(told.replace("\x1b[A", "")) & set("\r\n")
    assert "\x1b[A" in told
    assert "\x1b" not in told.replace("\x1b[A", "")


@pytest.mark.parametrize("bars", [False, True])
def test_addresses_keep_host_and_path_and_lose_user_password_and_query(bars):
    told = shown(bars, "at http://me:se@cret@host:8000/v1/x?api_key=hidden#top, then https://h/?k=v&l=w\n")
    assert told == "at http://host:8000/v1/x#top, then https://h/\n"


def test_an_error_begins_on_a_line_of_its_own(capsys, monkeypatch):
    def run(arguments):
        bar = tqdm(total=3, desc="working", leave=True)
        bar.update()
        raise ConfigError(f"a name {HOSTILE}")

    monkeypatch.setattr(report, "run", run)
    assert main(["report", "x"]) == 2
    told = capsys.readouterr().err
    assert "working" in told
    assert [line for line in told.split("\n") if line.startswith("error: a name [U+001B]")]


def test_what_is_printed_logged_and_warned_of_is_visible(capsys):
    logger = logging.getLogger("dualselect.test")
    handler = Console()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with guarded_terminal():
        sys.stdout.write(HOSTILE)
        sys.stderr.write(HOSTILE)
        logger.info("id %s", f"a\nwarning: forged {HOSTILE}")
        logger.warning("id %s", HOSTILE)
    logger.removeHandler(handler)
    told = capsys.readouterr()
    assert not set(told.out + told.err) & set("\x1b\x07\x9b\u202e\r")
    assert "id a\n  warning: forged" in told.out
    assert "warning: id [U+001B]" in told.err
    assert not isinstance(sys.stdout, GuardedStream)


def test_warnings_that_nobody_can_act_on_are_silent_and_others_are_not():
    with warnings.catch_warnings(record=True) as seen, guarded_terminal():
        for text, category in [
            ("`gradient_checkpointing` is deprecated and will be removed", FutureWarning),
            ("torch.utils.checkpoint: the use_reentrant parameter should be passed", UserWarning),
            ("3 rows were cut", UserWarning),
        ]:
            warnings.warn(text, category, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["3 rows were cut"]


def test_a_full_disk_says_what_to_type(capsys, monkeypatch):
    def run(arguments):
        raise OSError(28, "No space left on device", "/data/run/audit.jsonl")

    monkeypatch.setattr(report, "run", run)
    assert main(["report", "x"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: the disk is full for /data/run/audit.jsonl")
    assert "type the same command again" in message
