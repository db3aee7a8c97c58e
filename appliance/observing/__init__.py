"""Packets that cross an interface, looked at and left alone: kernel filters, packet sockets, headers."""
