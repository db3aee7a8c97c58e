"""Whether a service does what it is for, asked as its clients would ask. Knows nothing of virtual machines.

`round.check` asks in a process of its own and suits an event loop; `python -m vmhost.health` is that process.
"""
