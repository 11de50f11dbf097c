"""What some data would do to a model's safety, learned before training.

Neither the folder nor a module is called `audit`: a module would take the place of the function of that name.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from dualselect.auditing.auditing import audit, audit_into
    from dualselect.auditing.rows import TaskRows
    from dualselect.auditing.scores import SCORES
    from dualselect.auditing.settings import AuditSettings
    from dualselect.auditing.summary import AuditSummary

__all__ = ["SCORES", "AuditSettings", "AuditSummary", "TaskRows", "audit", "audit_into"]

_HOMES = {
    "SCORES": "scores",
    "AuditSettings": "settings",
    "AuditSummary": "summary",
    "TaskRows": "rows",
    "audit": "auditing",
    "audit_into": "auditing",
}


def __getattr__(name: str) -> Any:
    # a reader of results has no use for torch
    if name not in _HOMES:
        raise AttributeError(f"module 'dualselect.auditing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dualselect.auditing.{_HOMES[name]}"), name)
