"""The paper's diagnostic: is the selection structured, does it follow the task, does it help."""

from dualselect.diagnostic.diagnosing import diagnose
from dualselect.diagnostic.settings import DiagnosticOptions, DiagnosticSettings, read_diagnostic


__all__ = ["DiagnosticOptions", "DiagnosticSettings", "diagnose", "read_diagnostic"]
