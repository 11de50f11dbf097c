"""Disk and terminal: files that appear whole or not at all, text that is safe to print, progress bars."""
