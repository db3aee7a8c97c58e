"""The router: data plane, control plane and command line."""
