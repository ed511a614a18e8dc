"""Zero-shot probes made by our scenarios."""
