"""Intercepted TCP flows: LAN socket ⇄ stream, policy and pass-through reasons."""
