"""The tests, file for file beside what they test. Nothing here is needed at run time."""
