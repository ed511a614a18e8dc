"""Data beside the drawn streams."""
