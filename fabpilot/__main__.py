"""`python -m fabpilot` is `fabpilot`."""

from fabpilot.cli import main

if __name__ == "__main__":
    main()
