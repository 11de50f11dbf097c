"""Prompts of judge models and the format of their verdicts: presets, or a user's file."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from dualselect.errors import JudgeError
from dualselect.judges.protocol import Judged, Pair, Turns, Verdict
from dualselect.judges.thoughts import set_thoughts_aside


PRESETS = Path(__file__).parent / "wordings"
RANGES = {"refusal": (0, 1), "harmfulness": (1, 5), "unsafe": (0, 1), "reward": (-1e300, 1e300)}
RANGES["preference"] = (0, 1)
CODE_CHARACTERS = 8
_KINDS: dict[str, type] = {"measure": str, "pattern": str, "template": str}
_KINDS |= {"values": dict, "request": dict, "model": str, "base_url": str}
_PLACEHOLDER = re.compile(r"\{(code|prompt|response|first|second)\}")
# control tokens of chat templates, by model family
_CONTROL = re.compile(
    r"<(?=[|\uff5c]|/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|BEGIN|END)\b|<SYS>|</SYS>)|\[(?=/?INST\]|/?AVAILABLE_)"
)


@dataclass(frozen=True)
class Wording:
    r"""The prompt of a judge model and the format of its verdict.

    Attributes:
        measure: What a verdict measures, a key of `RANGES`; "preference" compares two responses.
        pattern: Regular expression of a verdict with a group `verdict`, case-insensitive; `^` and `$` match at lines,
            and the last match counts.
        template: The prompt, with {prompt} and {response}, or {first} and {second} for a preference. {code}, here and
            in the pattern, is a code per item that does not occur in the judged texts. Empty: the conversation itself
            is sent, as classifiers with their own chat template expect.
        values: Maps verdicts to values; empty for numeric verdicts.
        model: Name of the judge model; overrides the settings.
        base_url: Endpoint; overrides the settings.
        request: Request fields; overrides the settings.
    """

    measure: str
    pattern: str
    template: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    model: str | None = None
    base_url: str | None = None
    request: Mapping[str, Any] | None = None

    def messages(self, item: Judged | Pair) -> Turns:
        """The messages for the judge model."""
        if not self.template:
            assert isinstance(item, Judged)
            turns = [turn for turn in item.prompt if turn["role"] != "system"]
            turns = [*turns, {"role": "assistant", "content": item.response}]
            return [{"role": turn["role"], "content": without_control_tokens(turn["content"])} for turn in turns]
        texts = {name: without_control_tokens(text) for name, text in _texts(item).items()}
        texts["code"] = code_of(item)
        # a single pass, so that placeholders within texts are not replaced
        question = _PLACEHOLDER.sub(lambda found: texts[found[1]], self.template)
        return [{"role": "user", "content": question}]

    def verdict(self, item: Judged | Pair, reply: str) -> Verdict:
        """The last verdict of a reply behind its thoughts; unscored when there is none in the wording's form."""
        pattern = self.pattern.replace("{code}", code_of(item))
        said = set_thoughts_aside(reply)
        if not said.is_finished:
            return Verdict(None, "the reply ends inside its thoughts", reply)
        found = list(re.finditer(pattern, said.answer, re.IGNORECASE | re.MULTILINE))
        if not found:
            return Verdict(None, "the reply has no verdict in the judge's format", reply)
        word = found[-1]["verdict"].strip()
        known = {name.casefold(): value for name, value in self.values.items()}
        try:
            value = float(known[word.casefold()] if known else word)
        except (KeyError, ValueError):
            return Verdict(None, f"the verdict {word!r} has no value in the judge's wording", reply)
        low, high = RANGES[self.measure]
        if not low <= value <= high:
            return Verdict(None, f"the verdict {word!r} is not within {low:g} to {high:g}", reply)
        return Verdict(value, "", reply)


def code_of(item: Judged | Pair) -> str:
    """Hexadecimal digits that depend on the texts and do not occur in them, so that texts cannot forge them."""
    text = "\0".join(_texts(item).values())
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    while digest[:CODE_CHARACTERS] in text.lower():
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return digest[:CODE_CHARACTERS]


def without_control_tokens(text: str) -> str:
    """Insert a blank into every control token of chat templates."""
    return _CONTROL.sub(lambda found: found[0] + " ", text)


def load_wording(name: str) -> Wording:
    """A preset by name, or a YAML or JSON file with the fields of `Wording`.

    A file may start from a preset with the key `wording` and name only what differs, for example the model.

    Raises:
        JudgeError: There is no such preset or file, or the file is not a wording; the message says what to change.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    path = PRESETS / f"{name}.yaml" if name in names else Path(name).expanduser()
    if not path.is_file():
        raise JudgeError(
            f"openai:{name} is neither a preset ({', '.join(names)}) nor a file; write openai:rubric, or the path of "
            "a YAML file with measure, template and pattern"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JudgeError(f"{path} is not YAML or JSON: {error}; see {PRESETS / 'rubric.yaml'} for the form") from None
    if not isinstance(content, dict):
        raise JudgeError(f"{path} holds no mapping; write measure, template and pattern, as {PRESETS / 'rubric.yaml'}")
    if "wording" in content:
        preset = asdict(load_wording(str(content.pop("wording"))))
        content = {name: value for name, value in preset.items() if value is not None} | content
    return _checked(content, path)


def _checked(content: dict[str, Any], path: Path) -> Wording:
    known = [field.name for field in fields(Wording)]
    if unknown := sorted(set(content) - set(known)):
        raise JudgeError(f"{path}: {', '.join(unknown)} is not a part of a wording; the parts are {', '.join(known)}")
    if missing := {"measure", "pattern"} - set(content):
        raise JudgeError(f"{path}: {' and '.join(sorted(missing))} must be given; see {PRESETS / 'rubric.yaml'}")
    for name, kind in _KINDS.items():
        if not isinstance(content.get(name, kind()), kind):
            raise JudgeError(f"{path}: {name} is {content[name]!r}; write {'text' if kind is str else 'a mapping'}")
    wording = Wording(**content)
    if not all(isinstance(word, str) and type(value) in (int, float) for word, value in wording.values.items()):
        raise JudgeError(
            f"{path}: values is {dict(wording.values)}; write each verdict in quotes, since YAML takes yes and no for "
            "true and false, and a number for each"
        )
    if wording.measure not in RANGES:
        raise JudgeError(f"{path}: measure {wording.measure!r} is not known; write one of {', '.join(RANGES)}")
    try:
        groups = re.compile(wording.pattern).groupindex
    except re.error as error:
        raise JudgeError(f"{path}: the pattern is not a regular expression: {error}") from None
    if "verdict" not in groups:
        raise JudgeError(f"{path}: the pattern has no group for the verdict; write (?P<verdict>...) around it")
    _check_template(wording, path)
    return wording


def _check_template(wording: Wording, path: Path) -> None:
    wanted = {"first", "second"} if wording.measure == "preference" else {"response"}
    allowed = wanted | {"code", "prompt"}
    named = set(_PLACEHOLDER.findall(wording.template))
    if wording.template or wording.measure == "preference":
        if missing := wanted - named:
            raise JudgeError(
                f"{path}: the template must contain {' and '.join(f'{{{name}}}' for name in sorted(missing))}"
            )
        if strange := named - allowed:
            raise JudgeError(
                f"{path}: {', '.join(f'{{{name}}}' for name in sorted(strange))} has no meaning in a template with "
                f"measure {wording.measure}"
            )
    if "{code}" in wording.pattern and "code" not in named:
        raise JudgeError(f"{path}: the pattern asks for {{code}}, but the template does not tell it to the judge")


def _texts(item: Judged | Pair) -> dict[str, str]:
    prompt = item.prompt
    only = len(prompt) == 1 and prompt[0]["role"] == "user"
    texts = {"prompt": prompt[0]["content"] if only else "\n".join(f"{t['role']}: {t['content']}" for t in prompt)}
    if isinstance(item, Judged):
        return texts | {"response": item.response}
    return texts | {"first": item.first, "second": item.second}
