"""What can be known before a run: whether it would start (`doctor.py`), what it will take (`plan.py`)."""
