"""`python -m vnlsdenoise`: the command line."""

from vnlsdenoise.cli.main import main

if __name__ == "__main__":
    main()
