"""The Minimon server: creatures, pictures and signed scores from one process. Owns the version, nothing else."""

__version__ = "0.1.0"
