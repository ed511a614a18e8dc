"""Sets of zero-shot probes."""
