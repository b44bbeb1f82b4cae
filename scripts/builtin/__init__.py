"""Makes the built-in model and the built-in samples, from grammars and word lists of this folder alone."""
