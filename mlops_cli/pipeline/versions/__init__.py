"""Versions of models: what is known about each, and which becomes champion, by measured skill."""
