"""Long runs whose results are evidence: each is one command, resumable, with its record next to it."""
