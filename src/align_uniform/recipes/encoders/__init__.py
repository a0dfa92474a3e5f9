"""Networks, their files, and the features that they give."""
