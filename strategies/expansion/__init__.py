"""Methods that grow the model: new weights per domain, old ones untouched."""
