"""Methods that train again on stored examples."""
