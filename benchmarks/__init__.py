"""What clplat's speed is, measured: ``make bench`` or ``python -m benchmarks [MODULE ...]``."""
