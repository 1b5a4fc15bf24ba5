"""`python -m portgate`."""

from portgate.cli import main

main()
