"""Labelled picture sets as they lie on disk, and streams that ask for the class of a picture."""
