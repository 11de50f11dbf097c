"""Time to train on rows of mixed length: padded, grouped by length, without padding, and packed.

    python benchmarks/packing.py [--rows 96] [--mean 24]

One epoch over rows of log-normal lengths, the same rows each time, without a later refresh. Each way is timed per
token of the steps after the first ones, in which the gradients are checked. The last line is padded / packed.
"""

import statistics
import sys
import tempfile
from typing import Any

from common import dualselect_trainer, mixed_lengths, options_of, random_rows, timed_steps, write_result


WAYS: dict[str, dict[str, Any]] = {
    "padded": {},
    "grouped by length": {"train_sampling_strategy": "group_by_length"},
    "without padding": {"padding_free": True},
    "packed": {"packing": True, "per_device_train_batch_size": 2},
}
UNTIMED = 3


def per_token(trainer: Any, taken: list[float]) -> float:
    """Seconds per token that was trained on, without the first steps."""
    rows = trainer._rows["train"]
    lengths = dict(zip(rows.ids_of(rows.indices), map(len, rows.tokens["input_ids"]), strict=True))
    steps = [line["ids"] for line in trainer.selection_log.read() if line["event"] in ("warmup", "step")]
    tokens = [sum(lengths[row] for row in ids) for ids in steps]
    return sum(taken[UNTIMED:]) / sum(tokens[UNTIMED:])


def one_epoch(options: Any, settings: dict[str, Any]) -> float:
    """Seconds per token of one epoch."""
    longest = 4 * options.mean
    task = random_rows(mixed_lengths(options.rows, options.mean, longest))
    pool = random_rows(mixed_lengths(8, options.mean, longest, seed=1), seed=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = dualselect_trainer(
            options.model,
            folder,
            task,
            pool,
            num_train_epochs=1,
            max_length=longest,
            selection_warmup_steps=2,
            **settings,
        )
        return per_token(trainer, timed_steps(trainer))


def main() -> int:
    """Measure and print."""
    parser = options_of(__doc__, rows=96, mean=24, repeats=1)
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(options.repeats):
        for name, settings in WAYS.items():
            found[name].append(one_epoch(options, settings))
    medians = {name: statistics.median(values) for name, values in found.items()}
    gains = {name: medians["padded"] / value for name, value in medians.items()}
    write_result(options, "packing", {"seconds_per_token": found, "gains": gains, "ratio": gains["packed"]})
    for name, value in medians.items():
        print(f"{name}: {value * 1e3:.3f} ms per token, padded takes {gains[name]:.2f} times as long")
    print(f"padded / packed: {gains['packed']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
