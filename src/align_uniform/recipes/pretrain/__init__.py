"""Training an encoder without labels: two views of each image, or a momentum encoder with a queue."""
