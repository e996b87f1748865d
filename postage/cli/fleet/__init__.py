"""Running generic applications, as seen from the command line: asked, described, shown."""
