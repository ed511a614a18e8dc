"""Tuning with Optuna: search spaces, samplers and storages."""
