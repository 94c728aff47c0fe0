"""One process answers for every model: repository, registry, data plane, HTTP; each knows only the one before it."""
