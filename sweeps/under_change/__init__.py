"""Composers and post-processors under continual learning: what is run, what is read of it, and its page."""
