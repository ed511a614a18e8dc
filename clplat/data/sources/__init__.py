"""Tables on disk, one reader per format: the same columns whatever they were written as."""
