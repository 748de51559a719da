"""The command line, with one thin file per subcommand. Only this room prints."""
