"""One experiment: its parts, its folder, its checkpoint, its model versions and its result."""
