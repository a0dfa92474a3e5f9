"""Images on their way to an encoder: data sets, random views, and the processes that read them."""
