"""Commands about a project: create it, check its configs, cut it into branches, examine the machine."""
