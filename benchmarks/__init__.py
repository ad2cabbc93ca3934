"""Figures beside their references, measured side by side: `make bench`, one of them with `make bench ONLY=accept`."""
