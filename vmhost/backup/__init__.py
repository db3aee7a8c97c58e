"""Backups of virtual machines: taken, proved, restored, and let go of when they are old."""
