"""Figures from plain numbers, for MLflow and for reports: no global state of matplotlib."""
