"""Logs on disk: ring files, their journal, and what becomes of both after a crash."""
