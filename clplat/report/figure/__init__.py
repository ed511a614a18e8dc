"""The sweep's own figure: `outcome["figure"]` says what is drawn against what."""
