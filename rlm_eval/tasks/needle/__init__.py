"""Facts hidden in filler text: S-NIAH, the RULER kinds, paraphrased needles."""
