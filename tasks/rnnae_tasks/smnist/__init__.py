"""Sequential MNIST: digits read pixel by pixel or row by row; and permuted, in one fixed other order. See README.md."""
