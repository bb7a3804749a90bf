"""`python -m slots`."""

from slots.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
