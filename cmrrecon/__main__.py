"""`python -m cmrrecon` is the same program as `cmrrecon`."""

from cmrrecon.cli.app import main

if __name__ == "__main__":
    main()
