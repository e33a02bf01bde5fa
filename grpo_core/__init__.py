"""The core: everything a run does, from a recipe to a checkpoint. Importing it loads no torch."""

__version__ = "0.1.0"
