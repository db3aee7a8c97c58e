"""The control plane: what must stay true while the data plane is dead, and the socket that people talk to."""
