"""Help of `dualselect train`."""

from dataclasses import fields

from trl import SFTConfig

from dualselect.cli.main import main
from dualselect.cli.train_help import GROUPS
from dualselect.runs.settings import LoraModelConfig, TrainArguments, setting_types
from dualselect.training.config import DualSelectConfig


def test_every_setting_of_this_project_is_in_one_group():
    grouped = [name for names in GROUPS.values() for name in names.split()]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= set(setting_types())
    own = {setting.name for setting in fields(DualSelectConfig)} - {setting.name for setting in fields(SFTConfig)}
    own |= {setting.name for setting in fields(TrainArguments)} | set(LoraModelConfig.__annotations__)
    assert own <= set(grouped)


def test_all_settings_are_shown_when_asked_for(capsys):
    assert main(["train", "--help-all"]) == 0
    told = capsys.readouterr().out
    for name in setting_types():
        assert f"  --{name}\n" in told
    assert main(["train", "--help"]) == 0
    assert len(capsys.readouterr().out) < len(told) / 1.5
