"""Training: the contract of a strategy, the loop, its batches, its losses and its stream."""
