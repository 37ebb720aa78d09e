"""Blocks that two or more papers share."""
