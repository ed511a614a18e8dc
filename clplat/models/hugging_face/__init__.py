"""Models that Hugging Face's transformers wrote, as ones that open_clip runs; transformers is not needed."""
