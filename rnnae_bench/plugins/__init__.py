"""Where models and tasks come from: entry points, read without importing what they name, and the code behind them."""
