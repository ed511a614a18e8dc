"""Documents that are read back: a schema for each, checked when one is read."""
