"""`python -m linnet.cli` is `linnet`."""

from linnet.cli import main

main()
