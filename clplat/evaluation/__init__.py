"""What is measured: retrieval, continual scores from R, compatibility from C, zero-shot probes."""
