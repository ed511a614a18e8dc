"""Records of pictures and texts: what an example, a query and a gallery are, and how they are read."""
