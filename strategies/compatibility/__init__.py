"""Methods that keep old indexes usable: new embeddings stay close to the stored ones."""
