"""The HTTP face: who may come in, how often, what is answered and in which form. Makes nothing itself."""
