"""Methods that hold the model to what an earlier version of it says."""
