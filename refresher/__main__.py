"""`python -m refresher`: the command line."""

from refresher.cli import main

if __name__ == "__main__":
    main()
