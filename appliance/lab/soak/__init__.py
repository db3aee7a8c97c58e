"""A long day's work through one pair of Branchlines: other people's servers and clients, every byte compared.

`day` puts it together: clients that each take turn after turn, a WAN to which things happen, and gauges on both boxes.
"""
