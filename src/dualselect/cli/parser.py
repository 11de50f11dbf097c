"""Command line and config file to settings, with TRL's parser, and errors that name the setting."""

import argparse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from trl import TrlParser

from dualselect.cli.options import option_words, tell_repeated
from dualselect.cli.train_help import train_help
from dualselect.errors import ConfigError, DualSelectError
from dualselect.models.foreign_code import SETTING as TRUST
from dualselect.models.foreign_code import check_trust
from dualselect.preflight.refusals import Refusals, built, given
from dualselect.runs.config_file import COMMAND_LINE, ConfigFile, check_known, read_config
from dualselect.runs.settings import (
    SETTING_CLASSES,
    RunSettings,
    setting_choices,
    setting_types,
    wanted_text,
)
from dualselect.system.libraries import ignore_library_warnings


NO_OUTPUT_DIR = "output_dir is missing: write --output_dir with the folder for this run, such as runs/first"


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        settings: The settings; None when only help was asked for.
        record: What the run was made with whose config.yaml was given; None otherwise.
        help_text: The help to print.
    """

    settings: RunSettings | None
    record: dict[str, Any] | None = None
    help_text: str = ""


def parse_train_arguments(
    arguments: Sequence[str], *, defaults: Mapping[str, Any] | None = None, options: Sequence[str] = ()
) -> Request:
    """Read `--config FILE` and `--key value ...`; the command line wins over the file.

    Args:
        arguments: The words.
        defaults: Of settings that neither names, where a verb has others than `dualselect train`.
        options: Names of the verb's own options, which may have been meant by a name that is not a setting.

    Raises:
        ConfigError: An unknown setting (the nearest known one is named), a value of the wrong type or out of range,
            settings that cannot be combined, or a config file that cannot be used.
    """
    first = _QuietParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config")
    first.add_argument("-h", "--help", action="store_true")
    first.add_argument("--help-all", "--help_all", action="store_true")
    asked, rest = _checked(first, arguments)
    parser = _settings_parser()
    if asked.help or asked.help_all:
        return Request(None, help_text=train_help(parser, everything=asked.help_all))
    file = read_config(asked.config) if asked.config is not None else ConfigFile({})
    if file.record is not None:
        check_trust(file.settings, asked.config, trusted=_is_given(TRUST, rest))
    parser.set_defaults_with_config(**{**(defaults or {}), **file.settings})
    return Request(_settings(parser, rest, options), file.record)


def collect_train_arguments(
    arguments: Sequence[str], refusals: Refusals, *, options: Sequence[str] = ()
) -> tuple[Request, bool]:
    """Read what `parse_train_arguments` reads, and record every setting that it would refuse.

    A refused setting is replaced by its default.

    Args:
        arguments: The words.
        refusals: Where refusals are recorded.
        options: Names of the verb's own options, which may have been meant by a name that is no setting.

    Returns:
        The request, and whether an output directory is named.

    Raises:
        ConfigError: The word behind `--config` is missing.
    """
    first = _QuietParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config")
    asked, words = _checked(first, arguments)
    parser = _settings_parser()
    file = ConfigFile({})
    with refusals.collecting():
        if asked.config is not None:
            file = read_config(asked.config, lambda error: refusals.add(str(error)))
    with refusals.collecting():
        if file.record is not None:
            check_trust(file.settings, asked.config, trusted=_is_given(TRUST, words))
    if file.record is not None and not _is_given(TRUST, words):
        file.settings.pop(TRUST, None)
    parser.set_defaults_with_config(**file.settings)
    values = _collected(parser, words, refusals, [*options, "config", "help"])
    named = parser.get_default("output_dir") is not None or _is_given("output_dir", words)
    if not named:
        refusals.add(NO_OUTPUT_DIR)
    with warnings.catch_warnings():
        ignore_library_warnings()
        data, training, model = (built(kind, given(kind, values), refusals) for kind in SETTING_CLASSES)
    try:
        settings = RunSettings(data, training, model)
    except ConfigError as error:  # it is about use_peft: false
        refusals.add(str(error))
        settings = RunSettings(data, training, replace(model, use_peft=True))
    return Request(settings, file.record), named


def _collected(
    parser: "_SettingsParser", words: list[str], refusals: Refusals, options: Sequence[str]
) -> dict[str, Any]:
    """The values of all settings, without the words that are refused."""
    while True:
        try:
            namespace, unknown = _checked(parser, words)
            break
        except ConfigError as error:
            refusals.add(str(error))
            left = _without_refused(words, error)
            if len(left) == len(words):
                namespace, unknown = parser.parse_known_args([])
                break
            words = left
    tell_repeated(words, parser._actions)
    behind_unknown = False
    for word in words:
        if option_words([word]):
            behind_unknown = word in unknown
            if behind_unknown:
                with refusals.collecting():
                    check_known(word.split("=")[0].lstrip("-"), COMMAND_LINE, options=options)
        elif word in unknown and not behind_unknown:
            refusals.add(_of_no_setting(word))
    return vars(namespace)


def _without_refused(words: list[str], error: ConfigError) -> list[str]:
    """The words without the option that argparse refused, and without its values."""
    cause = error.__context__
    names = (getattr(cause, "argument_name", None) or "").split("/")
    left, skipping = [], False
    for word in words:
        if option_words([word]):
            skipping = word.split("=")[0] in names
        if not skipping:
            left.append(word)
    return left


class _QuietParser(argparse.ArgumentParser):
    """argparse would print its usage, 230 lines here, and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}")


class _SettingsParser(_QuietParser, TrlParser):  # type: ignore[misc]
    """TRL's parser without the exit."""


def _settings_parser() -> _SettingsParser:
    classes: Any = SETTING_CLASSES
    parser = _SettingsParser(classes, add_help=False, allow_abbrev=False, exit_on_error=False)
    for action in parser._actions:
        if action.type is not None and not action.choices:
            action.choices = setting_choices(action.dest) or None
        if action.dest == "resume":  # without a value, it means yes
            action.nargs, action.const = "?", "yes"
        if action.dest == "rho":  # a number or `auto`, which is checked with the other settings
            action.type = str
    # On a CPU it costs a third of the time and saves memory that small models do not need.
    parser.set_defaults(gradient_checkpointing=torch.cuda.is_available())
    return parser


def _checked(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[Any, list[str]]:
    try:
        return parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        name = (error.argument_name or "").split("/")[0]
        key = name.lstrip("-").replace("-", "_")
        advice = f"; write {wanted_text(key)}" if key in setting_types() else ""
        raise ConfigError(f"command line: {name}: {error.message}{advice}") from None


def _settings(parser: _SettingsParser, arguments: list[str], options: Sequence[str]) -> RunSettings:
    _, unknown = _checked(parser, arguments)
    for word in option_words(unknown):
        check_known(word.lstrip("-"), COMMAND_LINE, options=[*options, "config", "help"])
    tell_repeated(arguments, parser._actions)
    if unknown:
        raise ConfigError(_of_no_setting(unknown[0]))
    try:
        with warnings.catch_warnings():
            ignore_library_warnings()
            data, training, model = parser.parse_args_into_dataclasses(args=arguments, look_for_args_file=False)
    except DualSelectError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"these settings were refused by transformers or TRL: {error}; change the one named"
        ) from error
    if parser.get_default("output_dir") is None and not _is_given("output_dir", arguments):
        raise ConfigError(NO_OUTPUT_DIR)
    return RunSettings(data, training, model)


def _of_no_setting(word: str) -> str:
    advice = f"; did you mean --config {word}?" if word.endswith((".yaml", ".yml")) else ""
    return f"command line: {word!r} belongs to no setting{advice or '; every setting is written --key value'}"


def _is_given(name: str, arguments: Sequence[str]) -> bool:
    forms = (f"--{name}", f"--{name.replace('_', '-')}")
    return any(word.split("=")[0] in forms for word in arguments)
