"""`python -m unveil` is the program `unveil`."""

from unveil.cli import main

if __name__ == "__main__":
    main()
