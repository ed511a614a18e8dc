"""Strategies in other people's loops: accelerate, Lightning, Hugging Face, open_clip, Avalanche and more.

One module per library, which imports it; docs/integrations.md shows each in use.
"""
