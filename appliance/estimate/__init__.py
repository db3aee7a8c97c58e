"""What Branchline would make of the traffic that crosses an interface now, found by looking on."""
