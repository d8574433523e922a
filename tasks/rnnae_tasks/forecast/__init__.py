"""Real series: read a window, forecast what follows. See README.md, the card."""
