"""The embedded model's workshop: draws, captions, trains and measures it; the server never imports it."""
