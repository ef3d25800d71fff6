"""The two ways a measurement ends early; owns no reporting of them."""

from __future__ import annotations


class BenchError(Exception):
    """A measurement that cannot be trusted or could not be made."""


class ToolMissingError(Exception):
    """A program the measurement needs is not installed; the text says how to install it."""
