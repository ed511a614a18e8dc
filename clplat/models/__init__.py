"""CLIP models behind one interface: how they are loaded, their towers, and the backbone."""
