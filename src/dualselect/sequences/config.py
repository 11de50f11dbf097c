"""The config file of a sequence: settings of `dualselect train`, plus tasks, methods, memory and evaluation.

output_dir, model_name_or_path, num_train_epochs, ...   settings of `dualselect train`, for every task
tasks:
    - {name: tickets, data: tickets.jsonl}              a tenth of the rows is held out for the evaluation
    - {name: contracts, data: contracts.jsonl, evaluation: contracts_test.jsonl, settings: {num_train_epochs: 2}}
      or builtin, or {folder: DATA, order: o_lora_1} (see instance_files.py)
methods: [dualselect]                                   or names with settings, as in a comparison
memory: {rows: 200, policy: quota}
safety: {pool: [builtin], suites: ["builtin:30"]}       keep safe responses, too
seeds: [0]
orders: [[tickets, contracts], [contracts, tickets]]
evaluation: {limit: 100, max_new_tokens: 32}
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from dualselect.errors import ConfigError
from dualselect.evaluation.generation_settings import GenerationSettings
from dualselect.methods import METHODS, Method
from dualselect.models.embedded import EMBEDDED_MODEL
from dualselect.runs.config_file import check_keys, named_settings, read_mapping, seed_list
from dualselect.runs.settings import setting_types, typed_value
from dualselect.sequences.builtin_tasks import CONVENTIONS
from dualselect.sequences.instance_files import folder_tasks


Policy = Literal["quota", "reservoir", "scored"]
BUILTIN = "builtin"
OWN_KEYS = ("tasks", "methods", "memory", "safety", "seeds", "orders", "evaluation", "alone")
TASK_KEYS = ("name", "data", "evaluation", "settings")
FIXED = {
    "task_data": "name the data of each task under tasks",
    "reference_data": "the pool is the memory of earlier tasks; safe responses to keep go into safety: {pool: ...}",
    "reference_losses": "they are measured when a task has been learned",
    "start_adapter": "each task continues the adapter of the one before",
    "merged_adapters": "each task continues the adapter of the one before",
    "eval_data": "name the evaluation of each task under tasks",
    "seed": "use seeds: [0, 1, 2]",
    "resume": "a sequence always resumes",
    "overwrite": "choose another output_dir, or delete this one",
    "resume_from_checkpoint": "a task that was cut off starts again",
    "save_strategy": "tasks keep no checkpoints",
}
NAME = re.compile(r"[\w.+-]+")

_REPLAY = {
    "reference_contrast": "none",
    "reference_sides": "one",
    "task_token_budget": "1.0",
    "preservation_loss": "excess",
    "reference_gradient": "replay",
    "reference_replay_size": 8,
    "rho": 1.0,
}
SEQUENCE_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "sequential": ("sft", {}),
    "sequential_new": ("sft", {"adapter": "new"}),
    "er": ("er", {}),
    "a_gem": ("a_gem", {}),
    "gem": ("gem", {}),
    "der": ("der", {}),
    "der_pp": ("der_pp", {}),
    "ewc": ("ewc", {}),
    "lwf": ("lwf", {}),
    "o_lora": ("o_lora", {"adapter": "new"}),
    "osft": ("osft", {"adapter": "new"}),
    "mssr": ("mssr", {}),
    "merging": ("interpolation", {}),
    "joint": ("sft", {"joint": True}),
    "dualselect": ("dualselect", _REPLAY),
    "dualselect_filter": ("dualselect", _REPLAY | {"task_token_budget": "0.9"}),
}
"""Ways to learn a sequence: the method in `METHODS`, and what is different from its defaults."""


@dataclass(frozen=True)
class TaskConfig:
    """One task of a sequence.

    Attributes:
        name: Its name.
        data: Sources of its training rows.
        evaluation: Sources of its evaluation rows; empty to hold out a part of `data`.
        settings: Settings of `dualselect train` for this task only.
    """

    name: str
    data: list[str]
    evaluation: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MemoryConfig:
    """The memory of earlier tasks.

    Attributes:
        rows: Rows that it holds at most.
        tokens: Supervised tokens that it holds at most; None for no limit.
        policy: What is kept: `quota` the same number of each task, `reservoir` a uniform sample of all rows seen,
            `scored` as quota, but earlier tasks keep the rows with the highest reference scores so far.
    """

    rows: int = 200
    tokens: int | None = None
    policy: Policy = "quota"


@dataclass(frozen=True)
class SafetyConfig:
    """Safety along the sequence.

    Attributes:
        pool: Sources of safe responses that stay in the memory, beside its rows; empty for none.
        suites: Suites that are measured after each task, see `load_suites`.
    """

    pool: list[str] = field(default_factory=list)
    suites: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SequenceMethod:
    """A way to learn the sequence.

    Attributes:
        name: Its name in the results.
        method: The method of each task.
        settings: Training settings that differ.
        adapter: `continued`, one adapter for all tasks, or `new`, one for each on top of the merged earlier ones.
        joint: Whether it trains once on all tasks together, as an upper bound.
    """

    name: str
    method: Method
    settings: dict[str, Any] = field(default_factory=dict)
    adapter: Literal["continued", "new"] = "continued"
    joint: bool = False


@dataclass(frozen=True)
class SequenceConfig:
    """A sequence of tasks.

    Attributes:
        folder: Output folder.
        settings: Settings of `dualselect train` for all tasks.
        tasks: The tasks.
        methods: The ways to learn them.
        memory: The memory.
        safety: What is kept and measured of safety.
        seeds: Seeds; each is a run of every method and order.
        orders: Orders of the tasks, as names.
        limit: Evaluation prompts of each task, at most.
        generation: How responses are generated.
        alone: Whether each task is also learned alone, for forward transfer.
    """

    folder: Path
    settings: dict[str, Any]
    tasks: list[TaskConfig]
    methods: list[SequenceMethod]
    memory: MemoryConfig
    safety: SafetyConfig
    seeds: list[int]
    orders: list[list[str]]
    limit: int
    generation: GenerationSettings
    alone: bool

    @property
    def model(self) -> str:
        """Name of the start model."""
        return str(self.settings.get("model_name_or_path") or EMBEDDED_MODEL)


def read_sequence(path: str | Path, output_dir: str | None = None) -> SequenceConfig:
    """Read and check the config file of a sequence.

    Args:
        path: The YAML file.
        output_dir: Overrides the file's output_dir.

    Raises:
        ConfigError: The file cannot be read, or a key or value cannot be used; the message names it.
    """
    return sequence_config(read_mapping(Path(path)), output_dir, where=str(path))


def sequence_config(content: Mapping[str, Any], output_dir: str | None = None, *, where: str = "sequence") -> Any:
    """The sequence of plain values, as in a config file.

    Raises:
        ConfigError: A key or value cannot be used; the message names it.
    """
    check_keys(content, [*OWN_KEYS, *setting_types()], where)
    for name, instead in FIXED.items():
        if name in content:
            raise ConfigError(f"{where}: {name} cannot be set in a sequence: {instead}")
    folder = output_dir or content.get("output_dir")
    if not folder:
        raise ConfigError(f"{where}: output_dir is missing: set the folder of the sequence, such as runs/sequence")
    tasks = _tasks(content.get("tasks"), where)
    evaluation = _part(content, "evaluation", where)
    generation = [one.name for one in fields(GenerationSettings)]
    check_keys(evaluation, ["limit", *generation], f"{where}: evaluation")
    config = SequenceConfig(
        Path(str(folder)).expanduser().absolute(),
        _settings({k: v for k, v in content.items() if k not in (*OWN_KEYS, "output_dir")}, where),
        tasks,
        _methods(content.get("methods") or ["dualselect"], where),
        _dataclass(MemoryConfig, _part(content, "memory", where), f"{where}: memory"),
        _dataclass(SafetyConfig, _with_lists(_part(content, "safety", where), ("pool", "suites")), f"{where}: safety"),
        seed_list(content.get("seeds", [0]), where),
        _orders(content.get("orders"), [task.name for task in tasks], where),
        evaluation.get("limit", 100),
        GenerationSettings(**{"max_new_tokens": 32} | {k: evaluation[k] for k in generation if k in evaluation}),
        bool(content.get("alone", False)),
    )
    _check(config, where)
    return config


def _tasks(value: Any, where: str) -> list[TaskConfig]:
    if value == BUILTIN:
        return [TaskConfig(name, [f"{BUILTIN}:{name}:train"], [f"{BUILTIN}:{name}:test"]) for name in CONVENTIONS]
    if isinstance(value, dict):
        check_keys(value, ["folder", "order"], f"{where}: tasks")
        if len(value) < 2:
            raise ConfigError(f"{where}: tasks needs a folder and an order, such as {{folder: DATA, order: o_lora_1}}")
        value = folder_tasks(str(value["folder"]), value["order"], f"{where}: tasks")
    if not isinstance(value, list) or not value:
        raise ConfigError(
            f"{where}: tasks is {value!r}; use a list such as [{{name: tickets, data: tickets.jsonl}}], builtin, or "
            "{folder: DATA, order: o_lora_1}"
        )
    tasks = []
    for number, one in enumerate(value, 1):
        place = f"{where}: tasks: task {number}"
        if not isinstance(one, dict) or "name" not in one or "data" not in one:
            raise ConfigError(f"{place} is {one!r}; use {{name: NAME, data: FILE}}")
        check_keys(one, TASK_KEYS, place)
        if not NAME.fullmatch(str(one["name"])):
            raise ConfigError(f"{place}: name {one['name']!r} may contain letters, digits and _ . + - only")
        lists = _with_lists(one, ("data", "evaluation"))
        settings = _settings(one.get("settings") or {}, place)
        tasks.append(TaskConfig(str(one["name"]), lists["data"], lists.get("evaluation") or [], settings))
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{where}: two tasks are called {twice[0]}: give each task a name of its own")
    return tasks


def _settings(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: settings is {content!r}; use {{name: value}}")
    check_keys(content, list(setting_types()), where)
    for name, instead in FIXED.items():
        if name in content:
            raise ConfigError(f"{where}: {name} cannot be set in a sequence: {instead}")
    return {str(name): typed_value(str(name), value, where) for name, value in content.items()}


def _methods(value: Any, where: str) -> list[SequenceMethod]:
    named = named_settings(value, SEQUENCE_METHODS, where)
    return [_method(name, settings, f"{where}: methods: {name}") for name, settings in named.items()]


def _method(name: str, content: Any, where: str) -> SequenceMethod:
    if not NAME.fullmatch(name) or not isinstance(content, dict):
        raise ConfigError(f"{where} is {content!r}; use settings such as {{key: value}}, or nothing")
    base = str(content.get("method", name))
    check_keys({base: None}, SEQUENCE_METHODS, f"{where}: method")
    known, different = SEQUENCE_METHODS[base]
    method = METHODS[known]
    check_keys(content, ["method", "adapter", *method.setting_names, *setting_types()], where)
    values = {**different, **{key: value for key, value in content.items() if key != "method"}}
    adapter, joint = values.pop("adapter", "continued"), bool(values.pop("joint", False))
    if adapter not in ("continued", "new"):
        raise ConfigError(f"{where}: adapter is {adapter!r}; use continued or new")
    own = {key: value for key, value in values.items() if key in method.setting_names}
    settings = _settings({key: value for key, value in values.items() if key not in own}, where)
    return SequenceMethod(name, replace(method, **own), settings, adapter, joint)


def _orders(value: Any, names: Sequence[str], where: str) -> list[list[str]]:
    if value is None:
        return [list(names)]
    if not isinstance(value, list) or not all(isinstance(order, list) for order in value) or not value:
        raise ConfigError(f"{where}: orders is {value!r}; use lists of task names, such as [[a, b], [b, a]]")
    for order in value:
        if sorted(map(str, order)) != sorted(names):
            raise ConfigError(f"{where}: orders: {order} does not name each of the tasks {', '.join(names)} once")
    return [[str(name) for name in order] for order in value]


def _part(content: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    part = content.get(name) or {}
    if not isinstance(part, dict):
        raise ConfigError(f"{where}: {name} is {part!r}; use {{key: value}}")
    return part


def _with_lists(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {k: [v] if k in names and isinstance(v, str) else v for k, v in content.items()}


def _dataclass(kind: type[Any], content: Mapping[str, Any], where: str) -> Any:
    check_keys(content, [one.name for one in fields(kind)], where)
    return kind(**content)


def _check(config: SequenceConfig, where: str) -> None:
    memory = config.memory
    if memory.policy not in get_args(Policy):
        raise ConfigError(f"{where}: memory: policy is {memory.policy!r}; use {', '.join(get_args(Policy))}")
    for name, value in (("rows", memory.rows), ("tokens", memory.tokens)):
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{where}: memory: {name} is {value!r}; use an integer of 1 or more")
    if type(config.limit) is not int or config.limit < 1:
        raise ConfigError(f"{where}: evaluation: limit is {config.limit!r}; use an integer of 1 or more")
    if memory.rows < len(config.tasks) - 1:
        raise ConfigError(
            f"{where}: memory: {memory.rows} rows cannot hold one row of each of {len(config.tasks) - 1} tasks"
        )
