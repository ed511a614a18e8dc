"""Methods that change gradients before a step, so that old domains do not lose."""
