"""disasym: bilateral mammogram analysis with DisAsymNet. See `disasym --help`."""

__version__ = "0.1.0"
