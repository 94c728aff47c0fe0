"""Starting a project, cutting its collection into branches, and looking after both."""
