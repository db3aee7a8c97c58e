"""One file for support: everything that tells how a box is, without its secrets and without anybody's payload."""
