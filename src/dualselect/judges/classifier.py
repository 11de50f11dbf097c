"""A local sequence classifier or reward model as a judge."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2

from dualselect.errors import JudgeError
from dualselect.judges.protocol import Judged, JudgeSettings, Verdict, hash_of
from dualselect.judges.wording import without_control_tokens
from dualselect.models.foreign_code import comes_with_code


UNSAFE_LABELS = frozenset({"unsafe", "harmful", "toxic", "jailbreak", "injection"})
"""Lower-case labels that mean an unsafe response by default."""


class ClassifierJudge:
    """Scores prompt and response with any transformers sequence classifier.

    A single output is a reward (higher is better). Several outputs are labels, and the value is the probability that
    the response is unsafe: the sum over unsafe labels if labels are exclusive (softmax), else the maximum (sigmoid,
    `problem_type` multi_label_classification). The text is the conversation in the tokenizer's chat template, or,
    without one, prompt and response separated by an empty line. Special tokens of the classifier within texts are
    broken up. Texts longer than the model's context, and conversations that the template refuses, are unscored.

    Args:
        spec: "classifier:MODEL", a folder or hub name with safetensors, or "classifier:MODEL#LABEL,LABEL" with the
            labels that mean an unsafe response; without, they are those of `UNSAFE_LABELS`.
        settings: Batch size, device.

    Raises:
        JudgeError: The model cannot be loaded, is not a sequence classifier, or has no known unsafe label.
    """

    def __init__(self, spec: str, settings: JudgeSettings) -> None:
        import torch

        from dualselect.models.fingerprints import model_fingerprint, tokenizer_fingerprint

        self.name = spec
        self._torch = torch
        name, _, labels = spec.partition(":")[2].partition("#")
        device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model, self._tokenizer = _load(name, torch.float32 if device == "cpu" else "auto")
        self._model.to(device).eval()
        config = self._model.config
        self.measure = "reward" if config.num_labels == 1 else "unsafe"
        self._unsafe = [] if config.num_labels == 1 else _unsafe_labels(name, config.id2label, labels)
        self._exclusive = config.problem_type != "multi_label_classification"
        # without a padding token a model cannot find the end of padded texts
        self._batch_size = settings.batch_size if config.pad_token_id is not None else 1
        self._tokenizer.padding_side = "right"
        special = (str(token) for token in self._tokenizer.added_tokens_decoder.values() if token.special)
        self._special = sorted((text for text in special if len(text) > 1), key=len, reverse=True)
        self._most_tokens = min(self._tokenizer.model_max_length, getattr(config, "max_position_embeddings", 10**9))
        self.prompt_hash = hash_of(
            model=model_fingerprint(self._model),
            tokenizer=tokenizer_fingerprint(self._tokenizer),
            unsafe=[config.id2label[number] for number in self._unsafe],
            dtype=str(self._model.dtype),
        )

    def verdicts(self, items: Sequence[Judged]) -> Iterator[tuple[int, Verdict]]:
        """See `Judge.verdicts`; texts of similar length are batched."""
        tokens: dict[int, list[int]] = {}
        for position, item in enumerate(items):
            try:
                text = self._tokens(item)
            except (jinja2.TemplateError, TypeError) as error:
                yield position, Verdict(None, f"the classifier's chat template refuses the conversation: {error}")
                continue
            if len(text) > self._most_tokens:
                reason = f"{len(text):,} tokens, and the classifier reads {self._most_tokens:,}"
                yield position, Verdict(None, reason)
            else:
                tokens[position] = text
        readable = sorted(tokens, key=lambda position: len(tokens[position]))
        for start in range(0, len(readable), self._batch_size):
            positions = readable[start : start + self._batch_size]
            outputs = self._outputs([tokens[position] for position in positions])
            for position, output in zip(positions, outputs, strict=True):
                yield position, self._verdict(output)

    def _tokens(self, item: Judged) -> list[int]:
        turns = [*item.prompt, {"role": "assistant", "content": item.response}]
        turns = [turn | {"content": self._plain(turn["content"])} for turn in turns]
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False)
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        text = "\n\n".join(turn["content"] for turn in turns)
        return list(self._tokenizer(text)["input_ids"])

    def _plain(self, text: str) -> str:
        for special in self._special:
            text = text.replace(special, f"{special[0]} {special[1:]}")
        return without_control_tokens(text)

    def _outputs(self, texts: list[list[int]]) -> list[list[float]]:
        batch = {"input_ids": texts}
        if len(texts) > 1:
            batch = self._tokenizer.pad(batch)
        tensors = {name: self._torch.tensor(rows, device=self._model.device) for name, rows in batch.items()}
        with self._torch.no_grad():
            logits = self._model(**tensors).logits.float()
        if self.measure == "unsafe":
            logits = logits.softmax(-1) if self._exclusive else logits.sigmoid()
        return logits.tolist()

    def _verdict(self, output: list[float]) -> Verdict:
        if not all(map(math.isfinite, output)):
            return Verdict(None, f"the classifier's output is not finite: {output}")
        if self.measure == "reward":
            return Verdict(output[0])
        labels = self._model.config.id2label
        raw = ", ".join(f"{labels[number]} {share:.4f}" for number, share in enumerate(output))
        unsafe = [output[number] for number in self._unsafe]
        return Verdict(min(1.0, sum(unsafe)) if self._exclusive else max(unsafe), "", raw)


def _load(name: str, dtype: Any) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    # left out, transformers asks on the terminal whether to run it
    untrusted: dict[str, Any] = {"trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(name, **untrusted)
        kinds = config.architectures or []
        if not any("SequenceClassification" in kind for kind in kinds):
            raise JudgeError(
                f"classifier:{name} is a {', '.join(kinds) or 'model of unknown kind'}, not a sequence classifier: "
                "its scores would come from a random head. Name a ...ForSequenceClassification model"
            )
        model = AutoModelForSequenceClassification.from_pretrained(
            name, dtype=dtype, use_safetensors=True, **untrusted
        )
        tokenizer = AutoTokenizer.from_pretrained(name, **untrusted)
    except JudgeError:
        raise
    except (OSError, ValueError, RuntimeError, LookupError, ImportError) as error:
        if comes_with_code(error):
            raise JudgeError(
                f"classifier:{name} comes with code of its own, and code of a judge is never run: name a classifier "
                "of an architecture that transformers knows"
            ) from error
        first = "\n".join(str(error).strip().splitlines()[:3])
        raise JudgeError(
            f"classifier:{name} could not be loaded ({type(error).__name__}): {first}\nGive a hub name, or a folder "
            "with config.json, model.safetensors and the tokenizer's files"
        ) from error
    return model, tokenizer


def _unsafe_labels(name: str, labels: dict[int, str], named: str) -> list[int]:
    wanted = {label.strip().casefold() for label in named.split(",") if label.strip()} or UNSAFE_LABELS
    found = [number for number, label in labels.items() if label.casefold() in wanted]
    strange = sorted(wanted - {label.casefold() for label in labels.values()}) if named else []
    if strange or not 0 < len(found) < len(labels):
        problem = f"{', '.join(strange)} is not among them" if strange else f"{len(found)} are taken as unsafe"
        raise JudgeError(
            f"classifier:{name} has the labels {', '.join(labels.values())}, and {problem}; name those that mean an "
            f"unsafe response, and no others, as in classifier:{name}#{labels[max(labels)]}"
        )
    return found
