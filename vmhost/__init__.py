"""The local virtual machines; knows nothing of routing."""
