"""One flow in a file: its packets on the LAN, and its frames on the lanes as they are inside TLS."""
