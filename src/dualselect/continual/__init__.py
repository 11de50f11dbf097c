"""Continual learning: one model learns a sequence of tasks and keeps what it has learned."""
