"""One process, or several that share weights, answers for every model: repository, catalog, data plane, HTTP."""
