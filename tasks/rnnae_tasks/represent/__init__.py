"""What an autoencoder's code knows of what a picture shows. See README.md, the card."""
