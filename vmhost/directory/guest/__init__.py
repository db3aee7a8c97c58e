"""What runs inside the directory's machine, under the system's own Python: standard library and python3-samba only."""
