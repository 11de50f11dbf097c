"""The paper's diagnostic: whether the selection is structured, follows the task, and helps."""

from dualselect.diagnostic.diagnosing import diagnose
from dualselect.diagnostic.settings import DiagnosticOptions, DiagnosticSettings, read_diagnostic


__all__ = ["DiagnosticOptions", "DiagnosticSettings", "diagnose", "read_diagnostic"]
