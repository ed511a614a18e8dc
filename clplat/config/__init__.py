"""What is to be run: raw configurations, options and recipes in, one checked configuration out."""
