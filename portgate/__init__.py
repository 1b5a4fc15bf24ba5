"""portgate: a firewall manager that proves what it does."""

__version__ = "0.1.0"
