"""The pool of an audit: what makes directions, and what is kept apart to calibrate with."""

from collections import Counter

from datasets import Dataset
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.auditing.pool import HARMLESS_KINDS, HARMLESS_ROWS, prepare_pool


def test_every_kind_of_harmless_conversation_stands_on_both_sides(tmp_path):
    safe = Dataset.from_list([{"prompt": "help", "completion": "I cannot"}])
    config = DualSelectConfig(
        str(tmp_path), reference_contrast="compliance", max_length=2048, report_to="none", use_cpu=True
    )
    pool = prepare_pool(safe, None, chatml_tokenizer(), config)
    direction, calibration = pool.harmless_halves
    assert sorted(direction + calibration) == list(range(HARMLESS_ROWS))
    for half in (direction, calibration):
        kinds = Counter(pool.harmless[place]["kind"] for place in half)
        assert kinds == dict.fromkeys(HARMLESS_KINDS, HARMLESS_ROWS // 4)
