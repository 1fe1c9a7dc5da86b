"""What a command of drift does on an open device, and what another process does meanwhile."""
