"""A short summary of a run: steps, time, and the kinds of rows that it dropped."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualselect.runs.directory import RunDirectory
from dualselect.system.visible import one_line
from dualselect.training.selection_log import SelectionLog


UNKNOWN_KIND = "(no kind)"


@dataclass(frozen=True)
class KindCount:
    """How often rows of one kind were offered to the selection and how often they were dropped."""

    kind: str
    seen: int
    dropped: int


@dataclass(frozen=True)
class RunSummary:
    """Summary of a run.

    Attributes:
        directory: The run directory.
        steps: Optimizer steps done, over all calls.
        planned_steps: Optimizer steps according to the settings.
        warmup_steps: Steps done without selection.
        refreshes: Number of reference refreshes.
        seconds: Duration of this call's training.
        kinds: Dropped rows by kind.
        dropped_token_fraction: Share of the supervised tokens of the rows offered that was dropped, in [0, 1]; None
            without a selection step.
        interrupted_by: Number of the signal that ended the run early; None if the run is finished.
    """

    directory: Path
    steps: int
    planned_steps: int
    warmup_steps: int
    refreshes: int
    seconds: float
    kinds: list[KindCount]
    dropped_token_fraction: float | None = None
    interrupted_by: int | None = None

    def describe(self) -> str:
        """A short table."""
        minutes, seconds = divmod(round(self.seconds), 60)
        lines = [
            f"{self.steps} of {self.planned_steps} optimizer steps ({self.warmup_steps} warm-up), references chosen "
            f"{self.refreshes}x, {minutes} min {seconds} s"
        ]
        if self.dropped_token_fraction is not None:
            lines.append(f"{self.dropped_token_fraction:.1%} of the supervised tokens offered were dropped")
        if self.kinds:
            lines.append(f"{'kind':<16}{'offered':>9}{'dropped':>9}{'share':>8}")
        for count in self.kinds:
            share = count.dropped / count.seen
            lines.append(f"{one_line(count.kind):<16}{count.seen:>9}{count.dropped:>9}{share:>8.1%}")
        return "\n".join(lines)


def summarize(
    directory: RunDirectory, *, planned_steps: int | None, seconds: float, interrupted_by: int | None = None
) -> RunSummary:
    """Read the summary of a run from its selection log.

    Args:
        directory: The run.
        planned_steps: Optimizer steps according to the settings; None for a finished run.
        seconds: Duration of the training.
        interrupted_by: The signal that ended the training early.
    """
    lines = SelectionLog(directory.path).read() if directory.selection.exists() else []
    events = Counter(line["event"] for line in lines)
    steps = events["warmup"] + events["step"]
    return RunSummary(
        directory.path,
        steps,
        steps if planned_steps is None else planned_steps,
        events["warmup"],
        events["refresh"],
        seconds,
        count_kinds(lines),
        dropped_tokens(lines),
        interrupted_by,
    )


def dropped_tokens(lines: list[dict[str, Any]]) -> float | None:
    """Share of the supervised tokens dropped over all steps with a selection, in [0, 1]; None without one."""
    steps = [line for line in lines if line["event"] in ("warmup", "step") and "tokens" in line]
    offered = sum(sum(line["tokens"]) for line in steps)
    kept = sum(count for line in steps for count, keep in zip(line["tokens"], line["kept"], strict=True) if keep)
    return 1.0 - kept / offered if offered else None


def count_kinds(lines: list[dict[str, Any]]) -> list[KindCount]:
    """Offered and dropped rows by kind over all steps with a selection. A row counts each time it is offered."""
    seen: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for line in lines:
        if line["event"] not in ("warmup", "step") or "kept" not in line:
            continue
        for kind, kept in zip(line.get("kinds") or [""] * len(line["ids"]), line["kept"], strict=True):
            seen[kind or UNKNOWN_KIND] += 1
            dropped[kind or UNKNOWN_KIND] += not kept
    return [KindCount(kind, seen[kind], dropped[kind]) for kind in sorted(seen)]
