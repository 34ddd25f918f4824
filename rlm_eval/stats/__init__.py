"""From numbers to intervals and verdicts. Pure functions: nothing here reads a file."""
