"""Measurements of harness beside lm-eval, and of what the hardware allows. See README.md."""
