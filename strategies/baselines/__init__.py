"""Bounds and the plain baseline: never train, only fine-tune, train on everything."""
