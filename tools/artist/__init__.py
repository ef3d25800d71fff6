"""The creature artist: draws cartoon creatures from traits and a seed; it knows nothing of captions or servers."""
