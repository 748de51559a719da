"""The command line: one thin file a subcommand. The only room that prints."""
