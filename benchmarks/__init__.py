"""Measurements of what procir claims of its speed; each compares with a reference in the same run."""
