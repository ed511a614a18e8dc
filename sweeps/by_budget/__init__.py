"""Adapters and prompts at equal trained parameters and at equal FLOPs: what is run, and its page."""
