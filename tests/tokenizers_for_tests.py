"""Small tokenizers built in code, with the pre-tokenizers and chat templates of the supported families.

Each call returns a tokenizer of its own, which a test may change.
"""

import json
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


CORPUS = [
    "Sure, here is how you can do that. I am happy to help.",
    "I cannot help with that. I can't do it. I'm sorry, but no.",
    "Human: What is the answer?\nAssistant: Sure, the answer is here.",
    "Human: Can you help me?\nAssistant: I can help you with that.",
    "system user assistant model You are a helpful assistant.",
    "The answer is that there are many boxes, books and trains here.",
] * 4

CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}{{ '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# As Gemma 3 does: the system turn goes before the first user turn, turns are trimmed and must alternate.
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% set start = 1 if messages[0]['role'] == 'system' else 0 %}"
    "{% for message in messages[start:] %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}{{ '\n' }}"
    "{% if loop.first and start %}{{ messages[0]['content'] | trim }}\n\n{% endif %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim }}<end_of_turn>"
    "{% endgeneration %}{% else %}{{ message['content'] | trim }}<end_of_turn>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

BLANK_ENDING_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}Assistant: {% generation %}{{ message['content'] }}{{ eos_token }}"
    "{% endgeneration %}{% else %}{{ message['role'] | capitalize }}: {{ message['content'] }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)


def chatml_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE as SmolLM2 has it, with the ChatML template; end of turn is `<|im_end|>`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_level(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML_TEMPLATE,
    )


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over "▁" with byte fallback as Gemma 3 has it, with its template; end of turn is `<end_of_turn>`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_fallback()),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        chat_template=GEMMA_TEMPLATE,
    )


def blank_ending_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE whose template asks for the response with "Assistant: ", so that the blank merges into it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_level(("<pad>", "</s>"))),
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=BLANK_ENDING_TEMPLATE,
    )


@cache
def _byte_level(special_tokens: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


@cache
def _byte_fallback() -> str:
    special_tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    learner.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    learned = learner.model.__getstate__()
    vocabulary = [*special_tokens, *(f"<0x{byte:02X}>" for byte in range(256))]
    return _gemma_like(vocabulary, learned.decode(), special_tokens).to_str()


def _gemma_like(vocabulary: list[str], learned: str, special_tokens: list[str]) -> Tokenizer:
    state = json.loads(learned)
    words = [*vocabulary, *sorted(state["vocab"], key=state["vocab"].get)]
    merges = [tuple(merge) for merge in state["merges"]]
    tokenizer = Tokenizer(
        models.BPE({word: place for place, word in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.add_special_tokens(special_tokens)
    return tokenizer
