"""A report for a terminal, a browser, a notebook, a plot and continuous integration."""
