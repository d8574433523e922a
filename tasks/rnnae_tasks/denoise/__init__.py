"""Denoising: give back the clean handwritten digit behind Gaussian noise. See README.md, the card."""
