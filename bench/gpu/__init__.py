"""Measurements on one GPU, with SDXL's true sizes and random weights; owns no part of the engine, downloads nothing."""
