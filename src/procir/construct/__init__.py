"""The construction of a data set from a catalogue in three stages (paper, section 3)."""
