"""One run from its settings: the settings and their files, the run directory, what it records, and going on."""
