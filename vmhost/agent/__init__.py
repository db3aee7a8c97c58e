"""The agent in a guest (qemu-guest-agent): what it says of the guest, and what it is asked to do there."""
