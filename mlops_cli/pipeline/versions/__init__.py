"""Which version of a model becomes its champion, by measured skill."""
