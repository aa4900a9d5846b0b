"""`python -m nktc` is the nktc command."""

from nktc.cli import main

main()
