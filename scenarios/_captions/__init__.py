"""Captioned pictures: how their files are read, and streams that ask in both directions."""
