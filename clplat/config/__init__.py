"""What was asked for: raw configurations, options and recipes in, one checked configuration out."""
