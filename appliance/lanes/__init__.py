"""The long-lived authenticated sessions to a peer that carry every flow."""
