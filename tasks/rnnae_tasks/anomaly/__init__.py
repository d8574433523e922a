"""Anomaly detection: learn to reconstruct what is normal, and tell by the error what is not. See README.md."""
