"""The paper's diagnostic: does selection have structure, does it follow the task, is it worth its cost."""

from dualselect.diagnostic.diagnosing import diagnose
from dualselect.diagnostic.settings import DiagnosticOptions, DiagnosticSettings, read_diagnostic


__all__ = ["DiagnosticOptions", "DiagnosticSettings", "diagnose", "read_diagnostic"]
