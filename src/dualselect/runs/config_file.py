"""Reading and writing config files: the files of users and the config.yaml of a run."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dualselect.errors import ConfigError
from dualselect.runs.settings import setting_types, typed_value
from dualselect.system.files import write_text
from dualselect.system.nearest import nearest


COMMAND_LINE = "command line"
# The only key of a run's config.yaml that is not a setting: the record of the run, see record.py.
RECORD_KEY = "dualselect_run"
PACKAGE = Path(__file__).parents[1]
HEADER = """\
# Written by dualselect. To repeat this run of the run directory PATH exactly:
#   dualselect train --config PATH/config.yaml --output_dir ANOTHER
# To continue it after an interruption:
#   dualselect train --config PATH/config.yaml --resume
# {key}, at the end, records versions, data and model; data files that have changed since are rejected.
"""
HEADER_OF_OTHER_METHODS = """\
# Written by dualselect: the settings of a run of {method}. To repeat it: {command}.
# {key}, at the end, records versions, data and model.
"""


MAX_CONFIG_BYTES = 2**20
MAX_ALIASES = 50


@dataclass
class ConfigFile:
    """A config file as read.

    Attributes:
        settings: Setting name to value, with the type of the setting.
        record: Record of the run that wrote the file; None for a file written by hand.
    """

    settings: dict[str, Any]
    record: dict[str, Any] | None = field(default=None)


def read_config(path: str | Path, refuse: Callable[[ConfigError], None] | None = None) -> ConfigFile:
    """Read a config file and check every key and value.

    The config.yaml of a run has no `output_dir`, so that the run can be moved: `output_dir` is the folder of the file.

    Args:
        path: The file.
        refuse: Called with the error of each rejected key or value, which is then left out; None to raise the first
            error.

    Raises:
        ConfigError: The file is missing, is not a YAML mapping, has a duplicate key, a key that is not a setting, or
            a value of the wrong type. The message names the file, the line or key, and what to write.
    """
    path = Path(path)
    content = read_mapping(path)
    record = content.pop(RECORD_KEY, None)
    if record is not None and not isinstance(record, dict):
        raise ConfigError(f"{path}: {RECORD_KEY} is {record!r}, not a mapping; leave it out or restore the file")
    settings: dict[str, Any] = {}
    for name, value in content.items():
        try:
            check_known(str(name), str(path))
            settings[name] = typed_value(name, value, str(path))
        except ConfigError as error:
            if refuse is None:
                raise
            refuse(error)
    if record is not None:
        settings.setdefault("output_dir", str(path.resolve().parent))
    return ConfigFile(settings, record)


def write_config(path: str | Path, settings: dict[str, Any], record: dict[str, Any]) -> None:
    """Write the config.yaml of a run atomically."""
    method = record.get("method", {"command": "dualselect train"})
    ours = method["command"] == "dualselect train"
    header = (
        HEADER.format(key=RECORD_KEY)
        if ours
        else HEADER_OF_OTHER_METHODS.format(key=RECORD_KEY, method=method["name"], command=method["command"])
    )
    body = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=119)
    made_with = yaml.safe_dump({RECORD_KEY: record}, sort_keys=False, allow_unicode=True, width=119)
    write_text(path, header + body + "\n" + made_with)


def check_keys(content: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    """Reject unknown keys, and suggest the nearest known key.

    Raises:
        ConfigError: A key is unknown.
    """
    names = list(known)
    for key in content:
        if key not in names:
            near = nearest(str(key), names)
            advice = f"did you mean {near}?" if near else f"known keys are {', '.join(sorted(names)[:12])}, ..."
            typed = f" Type --{near}" if near and where == COMMAND_LINE else ""
            raise ConfigError(f"{where}: {key} is not known here; {advice}{typed}")


def seed_list(value: Any, where: str) -> list[int]:
    """Seeds of a file: an integer, or a list of different ones.

    Raises:
        ConfigError: Something else, a negative seed, or a seed twice.
    """
    seeds = [value] if type(value) is int else value
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(f"{where}: seeds is {value!r}; use a list of integers of 0 or more, such as [0, 1, 2]")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: seeds {value} contains a seed twice; the same seed gives the same run")
    return seeds


def named_settings(value: Any, known: Iterable[str], where: str) -> dict[str, Any]:
    """The methods of a file, a list of names or `name: settings` lines, as a mapping of names to settings.

    Raises:
        ConfigError: Neither of the two, or empty.
    """
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = dict.fromkeys(value)
    if not isinstance(value, dict) or not value:
        raise ConfigError(
            f"{where}: methods is {value!r}; use a list of names such as [sft, dualselect], or `name: settings` "
            f"lines; known methods: {', '.join(known)}"
        )
    return {str(name): settings or {} for name, settings in value.items()}


def check_known(name: str, where: str, *, options: Iterable[str] = ()) -> None:
    """Reject a name that is not a setting, and suggest the nearest setting.

    Args:
        name: The name.
        where: The file, or `command line`.
        options: Other names that are valid there.

    Raises:
        ConfigError: The name is not a setting.
    """
    if name in setting_types():
        return
    near = nearest(name, [*options, *setting_types()])
    advice = f"did you mean {near}?" if near else "dualselect train --help-all lists all settings"
    typed = f" Type --{near}" if near and where == COMMAND_LINE else ""
    raise ConfigError(f"{where}: {name} is not a setting; {advice}{typed}")


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file that contains a mapping.

    Raises:
        ConfigError: The file is missing, is not UTF-8 text, YAML or a mapping, or has a duplicate key.
    """
    if not path.exists() and (PACKAGE / path).is_file():  # examples/NAME.yaml of the installed package
        path = PACKAGE / path
    if path.is_dir():
        raise ConfigError(f"config {path} is a folder; write the file, for example {path / 'config.yaml'}")
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"config file {path} has {path.stat().st_size:,} bytes, but the limit is {MAX_CONFIG_BYTES:,}: "
                "name the YAML file with the settings"
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _yaml_files_beside(path), n=1)
        advice = f"did you mean {path.parent / near[0]}?" if near else "check the path, or see examples/"
        raise ConfigError(f"config file {path} does not exist; {advice}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"config file {path} is not UTF-8 text (byte {error.start}); save it as UTF-8 and check that it is YAML"
        ) from None
    try:
        content = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader, only stricter
    except RecursionError:
        raise ConfigError(f"{path}: lists and mappings are nested too deep; write one `key: value` per line") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}; write one `key: value` per line") from None
    if content is None:
        raise ConfigError(f"config file {path} is empty; write one `key: value` per line, see examples/")
    if not isinstance(content, dict):
        raise ConfigError(
            f"config file {path} contains a {type(content).__name__}, not settings; write one `key: value` per line"
        )
    return content


def _yaml_files_beside(path: Path) -> list[str]:
    return [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []


class _StrictLoader(yaml.SafeLoader):
    """Rejects duplicate keys, where YAML silently keeps the last, and too many aliases, which can exhaust memory."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                event = self.peek_event()
                raise yaml.composer.ComposerError(None, None, f"more than {MAX_ALIASES} aliases", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} is used twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
