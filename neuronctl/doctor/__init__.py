"""What is wrong with this machine, and the command that mends it: small checks, run in parallel."""
