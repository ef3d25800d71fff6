"""Measurements of the server against peers in one run; owns no part of the server itself."""
