"""The figure that a sweep asks for: `outcome["figure"]` says what is drawn against what."""
