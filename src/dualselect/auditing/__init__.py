"""Audit data before training: find the rows that would erode safe behavior.

The package is not called `audit` because a module of that name would shadow the function `dualselect.audit`.
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

_MODULES = {
    "SCORES": "scores",
    "AuditSettings": "settings",
    "AuditSummary": "summary",
    "TaskRows": "rows",
    "audit": "auditing",
    "audit_into": "auditing",
}


def __getattr__(name: str) -> Any:
    # reading results must not import torch
    if name not in _MODULES:
        raise AttributeError(f"module 'dualselect.auditing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dualselect.auditing.{_MODULES[name]}"), name)
