"""One run: its settings and config files, the run directory, the record of the run, and resuming."""
