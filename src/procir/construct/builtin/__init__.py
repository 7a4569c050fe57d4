"""The built-in annotator: a server that answers the three stages for drawn catalogues, from their attribute sheets.

It stands in for paid models where the truth must be known, errs at the rates that it is told to, and fails as servers
do.
"""
