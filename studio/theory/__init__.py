"""Experiments that can be worked out exactly, one for each question about GRPO. NumPy only."""
