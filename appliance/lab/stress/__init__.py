"""Many, small, urgent: what a pair of Branchlines is held to under stress, beside a haproxy pair in the same run.

A scenario is a function in a file of its own that brings up what it needs and yields figures; `registry` lists them.
"""
