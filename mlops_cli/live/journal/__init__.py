"""The journal: every forecast as it was issued, the closes that followed, and the track record made of both."""
