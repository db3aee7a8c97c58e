"""How a branch becomes a peer in one step: the centre invites it with a one-time token, the branch joins with it."""
