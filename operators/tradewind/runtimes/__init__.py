"""Where a step runs. One module per runtime; all satisfy `tradewind.runtimes.base.Runtime`."""
