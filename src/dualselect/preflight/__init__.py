"""Checks before a run: whether it would start (`doctor.py`), and its time, memory and disk space (`plan.py`)."""
