"""The feature store: what is frozen is computed once, ever."""
