"""Methods that combine the weights of model versions after training."""
