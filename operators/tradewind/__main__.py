"""``python -m tradewind``: the command, where the script is not on the path."""

from tradewind.cli import main

main()
