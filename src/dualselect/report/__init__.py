"""Run directories as self-contained pages."""
